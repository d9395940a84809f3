# SPDX-License-Identifier: Apache-2.0
"""A host that still runs the predecessor: its agent and broker as one, with its timings.

Every 10 s it reads all blocks, decides, and writes its own. It knows nothing of our lock file:
only the VM lease keeps it and us apart. Rules, from facts/predecessor-and-peers.md:

- A peer is dead when its timestamp has not changed for 60 s; so it starts nothing before it has
  watched for 60 s itself.
- It starts the VM when no live peer says that the VM is up, the global flag is off, and no live
  peer has a better score: all with the best score start at once.
- One that loses the race for the VM lease tries again later (EngineUnexpectedlyDown for hosts
  whose VM crashed: score 0 for 560 s).
- A VM that is not healthy 300 s after it was is stopped; one that never got healthy, after 600 s.
- In local maintenance the engine is to migrate the VM away; it never stops it for that.

Its block has no `agent=` line and is laid out as its own code does (facts/ovf-and-volumes.md).
"""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Optional

from ha_agent.broker.blocks.codec import BlockError, StatusBlock, decode, decode_global
from ha_agent.errors import EnvironmentFault
from ha_agent.sim.lane import SimLane
from ha_agent.sim.loop import Process
from ha_agent.sim.vdsm import SimVdsmCalls
from ha_agent.vdsm.vm_status import VmStats, VmStatus, lost_lease_race

if TYPE_CHECKING:
    from ha_agent.sim.host import SimHost

LOOP_SECONDS = 10.0
ALIVE_SECONDS = 60.0
_UNEXPECTED_SECONDS = 560.0
_RETRY_SECONDS = 60.0
_BAD_HEALTH_SECONDS = 300.0
_STARTING_SECONDS = 600.0
_IO_DEADLINE_SECONDS = 30.0
_BASE_SCORE = 3400
_RUNNING = (VmStatus.UP, VmStatus.POWERING_UP, VmStatus.WAIT_FOR_LAUNCH, VmStatus.POWERING_DOWN,
            VmStatus.PAUSED, VmStatus.MIGRATION_SOURCE)  # fmt: skip


class OldPeer:
    """The predecessor on one host. Make it within its process."""

    def __init__(self, host: SimHost, process: Process) -> None:
        self.host = host
        self.process = process
        self._lane = SimLane(host.world.loop, host.path, "old")
        self._vdsm = SimVdsmCalls(host, process, lambda: None)
        self._seen: dict[int, tuple[int, float]] = {}
        self._began = host.clock.now()
        self._not_before = 0.0
        self._score_zero_until = 0.0
        self._running_since: Optional[float] = None
        self._good_at: Optional[float] = None
        self._state = "EngineDown"
        process.spawn(self._run())

    def _now(self) -> float:
        return self.host.clock.now().boottime_seconds

    async def _run(self) -> None:
        await self.host.clock.sleep(self.host.dice.uniform(0.0, LOOP_SECONDS))
        while True:
            try:
                await self._look()
            except EnvironmentFault:
                self._say("StartState", "storage or VDSM did not answer")
            await self.host.clock.sleep(LOOP_SECONDS)

    async def _look(self) -> None:
        answer = await self._lane.call(
            "scan_slots", _IO_DEADLINE_SECONDS, path="status", count=2001
        )
        flag, peers = self._read({e["slot"]: e["data"] for e in answer["slots"]})
        vm = await self._vdsm.vm_stats(self.host.world.vm_uuid)
        running = vm is not None and vm.status in _RUNNING
        page = self.host.world.page(self.host) if running else "silent"
        await self._decide(vm, running, page, flag, peers)
        await self._write(running, page)

    def _read(self, slots: dict[int, bytes]) -> tuple[bool, list[StatusBlock]]:
        """Return the global flag and the blocks of live peers."""
        now = self._now()
        flag, peers = False, []
        for slot, data in slots.items():
            try:
                if slot == 0:
                    found = decode_global(data)
                    flag = found is not None and found.maintenance
                    continue
                block = decode(data, slot=slot)
            except BlockError:
                continue
            if block is None or slot == self.host.host_id:
                continue
            known = self._seen.get(slot)
            if known is None or known[0] != block.timestamp_seconds:
                self._seen[slot] = known = (block.timestamp_seconds, now)
            if now - known[1] < ALIVE_SECONDS:
                peers.append(block)
        return flag, peers

    async def _decide(
        self,
        vm: Optional[VmStats],
        running: bool,
        page: str,
        flag: bool,
        peers: list[StatusBlock],
    ) -> None:
        now, uuid = self._now(), self.host.world.vm_uuid
        if running:
            if await self._watch(now, page):
                await self._vdsm.destroy_vm(uuid)
            return
        self._running_since = self._good_at = None
        if vm is not None and vm.status is VmStatus.DOWN:
            if lost_lease_race(vm.exit_message):
                self._not_before = now + _RETRY_SECONDS
                self._say("EngineUnexpectedlyDown", "another host already took over")
            elif vm.exit_code:
                self._score_zero_until = now + _UNEXPECTED_SECONDS
                self._say("EngineUnexpectedlyDown", "the VM ended unexpectedly")
            else:
                self._say("EngineDown", "the VM has ended")
            await self._vdsm.destroy_vm(uuid)
            return
        if flag or self.host.local_maintenance:
            self._say("GlobalMaintenance" if flag else "LocalMaintenance", "as set")
            return
        self._say("EngineDown", "no VM here")
        watched = self.host.clock.now() - self._began >= ALIVE_SECONDS
        elsewhere = any(
            isinstance(p.engine_status, dict) and p.engine_status.get("vm") == "up" for p in peers
        )
        best = self._score(now) >= max((p.score for p in peers), default=0) > -1
        if watched and not elsewhere and best and self._score(now) and now >= self._not_before:
            self._say("EngineStart", "the engine is down and this host has the best score")
            self._not_before = now + _RETRY_SECONDS
            await self._vdsm.create_vm(uuid, self.host.world.definition)

    async def _watch(self, now: float, page: str) -> bool:
        """Follow a VM that runs here; tell whether it is to be ended."""
        if self._running_since is None:
            self._running_since = now
        if page == "good":
            self._good_at = now
            self._say("EngineUp", "the engine is healthy")
            return False
        if self._good_at is not None:
            late = now - self._good_at > _BAD_HEALTH_SECONDS
        else:
            late = now - self._running_since > _STARTING_SECONDS
        if late:
            self._say("EngineForceStop", "the engine is not healthy")
        elif self._good_at is None:
            self._say("EngineStarting", "the engine is not healthy yet")
        else:
            self._say("EngineUpBadHealth", "the engine does not answer")
        return late

    def _score(self, now: float) -> int:
        bad = self.host.local_maintenance or now < self._score_zero_until
        return 0 if bad else _BASE_SCORE

    async def _write(self, running: bool, page: str) -> None:
        now = self._now()
        status = {"vm": "down", "health": "bad", "detail": "unknown", "reason": "vm not running"}
        if running:
            status = {"vm": "up", "health": "good" if page == "good" else "bad", "detail": "Up"}
        data = old_block(
            self.host.host_id, self.host.name, int(now), self._score(now), json.dumps(status),
            self.host.local_maintenance, self._state,
        )  # fmt: skip
        await self._lane.call(
            "write_slot", _IO_DEADLINE_SECONDS, path="status", slot=self.host.host_id, data=data
        )

    def _say(self, state: str, why: str) -> None:
        if state != self._state:
            self.host.say(f"(old) {self._state} -> {state}: {why}")
            self._state = state


def old_block(
    host_id: int,
    name: str,
    timestamp: int,
    score: int,
    status: str,
    maintenance: bool,
    state: str,
    stopped: bool = False,
    timeout: str = "",
) -> bytes:
    """Return a slot as the predecessor lays it out: twelve tokens, its lines for people. It pads
    text, not bytes: what is not ASCII makes the slot longer."""
    tokens = ["1", "1", str(timestamp), str(host_id), str(score), status, name,
              str(int(maintenance)), str(int(stopped)), "00000000", "1",
              str(timestamp)]  # fmt: skip
    tokens[9] = f"{zlib.crc32('|'.join(tokens).encode()):08x}"
    text = f"{timestamp} (Thu Jan  1 00:00:00 1970)"
    lines = (
        "metadata_parse_version=1\nmetadata_feature_version=1\n"
        f"timestamp={text}\nhost-id={host_id}\nscore={score}\n"
        f"vm_conf_refresh_time={text}\nconf_on_shared_storage=True\n"
        f"maintenance={maintenance}\nstate={state}\nstopped={stopped}\n"
    )
    if timeout:
        lines += f"timeout={timeout}\n"
    return ("|".join(tokens).ljust(512, "\0") + lines.ljust(3584, "\0")).encode()
