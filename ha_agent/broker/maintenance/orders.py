# SPDX-License-Identifier: Apache-2.0
"""Global maintenance and the cluster's shutdown: orders given here, and what becomes of them all.

    set     look at all blocks . number = highest + 1 . our block with the order, read back .
            the flag in slot 0, read back . look again: is it ours that counts? . answer
    clear   the flag, read back . look again . the order "none" in our block . answer

An order with an end is ended by the host that it was given on, by its own boot-time clock. Is
that host not alive then, the lowest host id among ours that live does it, a little later, by
what it counted itself from its first sight of the order: no clock is compared with another.
Only what a broker finds at its very start may have any age; then the calendar has a say, and
shortens what is left.

An order whose flag was cleared elsewhere (`--set-maintenance --mode=none` of the predecessor) is
over; the same hosts take it back, so that the next flag does not bring it to life again.

Every broker takes notice of the order in force (`order_seen`): of a shutdown when it has watched
for long enough to know who lives, and has asked VDSM how many other VMs run here. It goes on
asking while the shutdown lasts. It decides nothing about the engine VM; the agents do.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable
from typing import Callable, Optional, Protocol

from ha_agent.broker.blocks.codec import BlockError
from ha_agent.broker.blocks.monitor import StatusMonitor
from ha_agent.broker.blocks.own import NotOurSlot
from ha_agent.broker.maintenance import order as orders
from ha_agent.broker.maintenance.order import Order
from ha_agent.broker.maintenance.order_file import KeptOrder, left_by_calendar
from ha_agent.broker.watch import Board
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant, WallTime

log = logging.getLogger(__name__)

US = "ha-broker"
_COUNT_INTERVAL_SECONDS = 2.0
# A broker that was just started has not locked its host id yet.
_HOST_ID_WAIT_SECONDS = 5.0
_HOST_ID_POLL_SECONDS = 0.1


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def now(self) -> Instant: ...

    def wall(self) -> WallTime: ...

    async def sleep(self, duration_seconds: float) -> None: ...


class Keeps(Protocol):
    """What is needed of order_file.OrderFile."""

    async def save(self, kept: Optional[KeptOrder]) -> None: ...


class Overtaken(EnvironmentFault):
    """Set and written, but another host's order or flag came in between and counts."""


@dataclasses.dataclass(frozen=True)
class _Sight:
    """The newest order as this broker knows it. `left_seconds` is as of `seen_at`."""

    order: Order
    seen_at: Instant
    left_seconds: Optional[float]

    @property
    def ends_at(self) -> Optional[Instant]:
        return None if self.left_seconds is None else self.seen_at + self.left_seconds


class MaintenanceKeeper:
    """Gives, ends and takes notice of orders; keeps the board's `order` current."""

    def __init__(
        self,
        monitor: StatusMonitor,
        board: Board,
        host_id: int,
        host_name: str,
        *,
        clock: Clock,
        host_alive_seconds: float,
        file: Keeps,
        kept: Optional[KeptOrder],
        count_other_vms: Callable[[], Awaitable[Optional[int]]],
    ) -> None:
        """`kept` is what `file` held at the start. `count_other_vms` asks VDSM, with a deadline,
        for the number of VMs here besides the engine VM; None when it does not tell."""
        self._monitor = monitor
        self._extra = monitor.own.extra
        self._board = board
        self._host_id = host_id
        self._host_name = host_name
        self._clock = clock
        self._settle_seconds = host_alive_seconds
        self._file = file
        self._count_other_vms = count_other_vms
        self._ends_at = kept.ends_at if kept is not None else None
        self._extra.order = kept.order if kept is not None else None
        self._extra.left_seconds = self._left_of_ours
        self._highest = kept.order.number if kept is not None else 0
        self._sight: Optional[_Sight] = None
        self._first_look_at: Optional[Instant] = None
        self._flag_off_since: Optional[Instant] = None
        self._counted_at: Optional[Instant] = None
        self._busy = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._problem = ""
        monitor.on_look = self.looked

    # Orders from here ----------------------------------------------------------------------

    async def give(
        self,
        what: str,
        *,
        who: str,
        reason: str = "",
        for_seconds: Optional[float] = None,
        now: bool = False,
    ) -> Order:
        """Put the cluster into maintenance, or order its shutdown; returns when it is on storage.

        Raises EnvironmentFault when it is not, or when it is not known to be: NotOurSlot,
        StorageFault ("differs": another host wrote at the same time), Overtaken.
        """
        async with self._busy:
            await self._host_id_is_ours()
            await self._monitor.look()
            order = self._next(what, who, reason)
            wall = order.at_unix_seconds
            until = None if for_seconds is None else wall + for_seconds
            order = dataclasses.replace(
                order, until_unix_seconds=until, left_seconds=for_seconds, now=now
            )
            await self._put(order)
            await self._monitor.set_global_maintenance(True)
            self.looked()  # before anybody reads of the flag without its order
            await self._monitor.look()
            newest = self._newest()
            if newest is not None and _key(newest) != _key(order):
                what = "the shutdown" if newest.what == orders.SHUTDOWN else newest.what
                raise Overtaken(
                    f"{what} was ordered on {newest.host_name} at the same time, and that order "
                    "counts"
                )
            if self._board.current.global_maintenance is not True:
                raise Overtaken("another host has cleared global maintenance at the same time")
            log.info("%s ordered by %s%s", what, who, f": {reason}" if reason else "")
            return order

    async def clear(self, *, who: str, reason: str = "") -> Optional[Order]:
        """End global maintenance and every order; returns when storage says so.

        Returns the order that was in force. Raises EnvironmentFault as `give` does.
        """
        async with self._busy:
            await self._monitor.look()
            before = self._newest() if self._board.current.global_maintenance else None
            await self._clear(who, reason)
            if self._board.current.global_maintenance is not False:
                raise Overtaken("another host has set global maintenance at the same time")
            log.info("global maintenance cleared by %s%s", who, f": {reason}" if reason else "")
            return before if before is not None and before.wants_flag else None

    async def _clear(self, who: str, reason: str) -> None:
        was_on = self._board.current.global_maintenance
        await self._monitor.set_global_maintenance(False)
        await self._monitor.look()
        newest = self._newest()
        # Also of a flag that had no order: who took it away should be known everywhere.
        wanted = was_on or (newest is not None and newest.wants_flag)
        if wanted and not self._board.current.global_maintenance:
            try:
                await self._put(self._next(orders.NONE, who, reason))
            except EnvironmentFault as fault:
                # Without its flag it is over anyway; `_due` tries again.
                log.warning("the order is not taken back yet: %s", fault)
        self.looked()

    async def _host_id_is_ours(self) -> None:
        ends_at = self._clock.now() + _HOST_ID_WAIT_SECONDS
        while not self._monitor.own.may_write:
            if self._clock.now() >= ends_at:
                raise NotOurSlot(f"host id {self._host_id} is not known to be this host's")
            await self._clock.sleep(_HOST_ID_POLL_SECONDS)

    def _next(self, what: str, who: str, reason: str) -> Order:
        highest = max((order.number for order in self._orders()), default=0)
        self._highest = max(self._highest, highest)
        if self._highest >= orders.MAX_NUMBER:
            raise EnvironmentFault(
                "a status block has an order with the highest number that there can be: it is "
                "damaged, and has to be cleaned"
            )
        self._highest += 1
        return Order(
            number=self._highest,
            what=what,
            who=who,
            host_id=self._host_id,
            host_name=self._host_name,
            at_unix_seconds=self._clock.wall().unix_seconds,
            reason=reason,
        )

    async def _put(self, order: Order) -> None:
        """Make it ours: on the disk first, then in our block. What fails leaves the old one."""
        before, ended_before = self._extra.order, self._ends_at
        left = order.left_seconds
        self._extra.order = order
        self._ends_at = None if left is None else self._clock.now() + left
        try:
            await self._file.save(KeptOrder(order, self._ends_at))
            await self._monitor.write_lines()
        except (EnvironmentFault, BlockError) as fault:
            self._extra.order, self._ends_at = before, ended_before
            await self._file.save(None if before is None else KeptOrder(before, ended_before))
            if isinstance(fault, BlockError):
                raise EnvironmentFault(f"the order does not fit our block: {fault}") from fault
            raise

    # What all know -------------------------------------------------------------------------

    def looked(self) -> None:
        """Take what the monitor's last look has found; cheap when that is nothing new."""
        now, picture = self._clock.now(), self._board.current
        flag = picture.global_maintenance
        if self._first_look_at is None and flag is not None:
            self._first_look_at = now
            self._adopt()
        if flag is not False:
            self._flag_off_since = None
        elif self._flag_off_since is None:
            self._flag_off_since = now
        newest = self._newest()
        if newest is not None and (self._sight is None or _key(self._sight.order) != _key(newest)):
            self._sight = _Sight(newest, now, self._left_at_sight(newest, now))
        if self._sight is None:
            return
        in_force = flag is True and self._sight.order.wants_flag
        left = self._sight.left_seconds
        entry = self._sight.order.entry(in_force=in_force, remaining_seconds=left)
        self._board.update(order=entry)
        if in_force and entry.what != orders.SHUTDOWN:
            self._extra.order_seen = entry.number
        if not self._busy.locked() and (self._to_notice(now) or self._due(now) or self._unlike()):
            self._wanted.set()

    def remaining_seconds(self) -> Optional[float]:
        """How long the newest order still holds, as of now; None: it has no end."""
        ends_at = self._sight.ends_at if self._sight is not None else None
        return None if ends_at is None else max(0.0, ends_at - self._clock.now())

    def _orders(self) -> list[Order]:
        ours = self._extra.order
        return [*self._monitor.orders, *(() if ours is None else (ours,))]

    def _newest(self) -> Optional[Order]:
        return orders.newest(self._orders())

    def _adopt(self) -> None:
        """Take the order that the first look finds in our slot, if the disk has lost it."""
        found, ours = self._monitor.order_on_storage, self._extra.order
        if found is not None and (ours is None or found.number > ours.number):
            left = left_by_calendar(found, self._clock.wall())
            self._extra.order = found
            self._ends_at = None if left is None else self._clock.now() + left

    def _left_at_sight(self, order: Order, now: Instant) -> Optional[float]:
        if order.host_id == self._host_id:
            return None if self._ends_at is None else self._ends_at - now
        if self._sight is None and self._first_look_at == now:
            return left_by_calendar(order, self._clock.wall())
        return order.left_seconds

    def _left_of_ours(self) -> Optional[float]:
        return None if self._ends_at is None else self._ends_at - self._clock.now()

    # What is to be done --------------------------------------------------------------------

    async def run(self) -> None:
        """Do for ever what a look has shown to be due; what fails is tried at the next look."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._work()
            except (EnvironmentFault, BlockError) as fault:
                if str(fault) != self._problem:
                    log.warning("orders of the cluster: %s", fault)
                self._problem = str(fault)
            else:
                self._problem = ""

    async def _work(self) -> None:
        if self._to_notice(self._clock.now()):
            await self._notice()
        async with self._busy:
            if self._due(self._clock.now()):
                await self._monitor.look()
                await self._end()
            if self._unlike():
                await self._monitor.write_lines()

    async def _end(self) -> None:
        """End the newest order, if after a fresh look it is still to be ended."""
        sight, flag = self._sight, self._board.current.global_maintenance
        newest = self._newest()
        if sight is None or newest is None or _key(newest) != _key(sight.order):
            return
        order = sight.order
        told = f"{order.what} that {order.who} ordered on {order.host_name}"
        if flag:
            log.warning("%s is over: its time has come", told)
            await self._clear(US, "its time was over")
        else:
            log.warning("%s is over: global maintenance was cleared elsewhere", told)
            reason = "the flag on storage is off, cleared there by another program or never set"
            await self._put(self._next(orders.NONE, US, reason))
            self.looked()

    def _due(self, now: Instant) -> bool:
        """Whether the newest order is over, and for us to end."""
        sight, off_since = self._sight, self._flag_off_since
        if sight is None or not sight.order.wants_flag:
            return False
        over_at = off_since if off_since is not None else sight.ends_at
        if over_at is None:
            return False
        if sight.order.host_id == self._host_id:
            return now >= over_at
        if now < over_at + self._settle_seconds or not self._settled(now):
            return False
        hosts = self._board.current.hosts
        setter = next((h for h in hosts if h.host_id == sight.order.host_id), None)
        if setter is not None and orders.is_live(setter):
            return False
        return orders.clearing_host(hosts) == self._host_id

    def _settled(self, now: Instant) -> bool:
        """Whether we have watched for long enough to know who lives."""
        first = self._first_look_at
        return first is not None and now - first >= self._settle_seconds

    def _unlike(self) -> bool:
        """Whether our block on storage has another order than we have."""
        if self._first_look_at is None:
            return False
        found, ours = self._monitor.order_on_storage, self._extra.order
        return ours is not None and (found is None or found.number != ours.number)

    def _to_notice(self, now: Instant) -> bool:
        order = self._board.current.order
        if order is None or not order.in_force or order.what != orders.SHUTDOWN:
            return self._counted_at is not None
        if self._counted_at is None or self._extra.order_seen != order.number:
            return self._settled(now)
        return now - self._counted_at >= _COUNT_INTERVAL_SECONDS

    async def _notice(self) -> None:
        """Tell the others that we know of a shutdown, and of our VMs while it lasts."""
        before = (self._extra.order_seen, self._extra.other_vms)
        order = self._board.current.order
        if order is None or not order.in_force or order.what != orders.SHUTDOWN:
            self._counted_at = self._extra.other_vms = None
        else:
            self._extra.other_vms = await self._count_other_vms()
            self._extra.order_seen = order.number
            self._counted_at = self._clock.now()
        if before != (self._extra.order_seen, self._extra.other_vms):
            await self._monitor.write_lines()


def _key(order: Order) -> tuple[int, int]:
    return order.number, order.host_id
