# SPDX-License-Identifier: Apache-2.0
"""What the hosts say of themselves: their brokers' pictures, and when all of them are well.

No verdict on a failure rests on this, those are the observer's; but "all hosts are healthy again"
is for the hosts to say, and has to agree with what the observer sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Callable, Optional, TypeVar

from demo import patience
from ha_agent.broker.rpc import call as rpc_call
from ha_agent.broker.snapshot import Snapshot, from_wire
from ha_agent.clock import SystemClock
from ha_agent.errors import HaAgentError
from lab.ports import Host
from lab.qemu_watch import Run

T = TypeVar("T")

POLL_SECONDS = 0.25
_SOCKET = "run/ha-agent/broker.socket"
_CALL_DEADLINE_SECONDS = 3.0


class NotSo(Exception):
    """Something that has to be so is not; the text says what."""


def wait_for(look: Callable[[], Optional[T]], limit_seconds: float, missing: str) -> T:
    """Return what `look` finds. Raises NotSo after `limit_seconds`."""
    return patience.wait_for(look, limit_seconds, missing, error=NotSo, poll_seconds=POLL_SECONDS)


def snapshot(host: Host) -> Optional[Snapshot]:
    """Return what a host's broker tells; None when it does not answer."""
    leader = host.leader
    if leader is None:
        return None
    clock = SystemClock()
    try:
        # A socket is reached by its path, whatever network the caller is in.
        answer = rpc_call.call_once(
            f"/proc/{leader}/root/{_SOCKET}", "status", {}, _CALL_DEADLINE_SECONDS, clock=clock
        )
        return from_wire(Snapshot, answer, where="broker.status")
    except HaAgentError:
        return None


def troubles(
    pictures: Mapping[int, Optional[Snapshot]], names: Mapping[int, str], owner: str
) -> list[str]:
    """Return what is not yet well, a sentence each, with the VM on `owner`. Pure.

    `pictures` and `names` are by host id. Well is: every host is up, in the state it should be
    in, with storage and definition, known as live to all, and the owner knows them as able.
    """
    found = []
    for number, picture in pictures.items():
        name = names[number]
        if picture is None:
            found.append(f"the broker of {name} does not answer")
            continue
        wanted = "EngineUp" if name == owner else "EngineDown"
        if picture.agent.state != wanted:
            found.append(f"{name} is in {picture.agent.state}, not {wanted}")
        if picture.storage.problem or picture.storage.workers_stuck:
            found.append(
                f"{name} has a storage problem: {picture.storage.problem or 'hung calls'}"
            )
        if not picture.definition.available or picture.definition.stale:
            found.append(f"{name} has no current definition")
        others = set(pictures) - {number}
        alive = {host.host_id for host in picture.hosts if host.alive and host.score > 0}
        if not alive >= others:
            missing = ", ".join(names[other] for other in sorted(others - alive))
            found.append(f"{name} does not see {missing} live")
        if name == owner and not {o.host_id for o in picture.agent.others if o.able} >= others:
            found.append(f"{name} does not see all others able")
    return found


class View:
    """The hosts' pictures. `running` is what the observer sees."""

    def __init__(self, hosts: Mapping[str, Host], running: Callable[[], list[Run]]) -> None:
        self._hosts = hosts
        self._running = running
        self.why = "nothing was looked at"

    def owner(self) -> Optional[str]:
        """Return the host with the VM when all is well; else None, and `why` tells."""
        running = self._running()
        if len(running) != 1:
            self.why = f"{len(running)} VMs run"
            return None
        owner = running[0].host
        pictures = {host.number: snapshot(host) for host in self._hosts.values()}
        names = {host.number: host.name for host in self._hosts.values()}
        found = troubles(pictures, names, owner)
        self.why = "; ".join(found)
        return None if found else owner

    def settle(self, limit_seconds: float) -> str:
        """Wait until all is well, and return the owner. Raises NotSo that says what is not."""
        try:
            return wait_for(self.owner, limit_seconds, "")
        except NotSo as error:
            raise NotSo(f"{error}the hosts are not all well: {self.why}") from None
