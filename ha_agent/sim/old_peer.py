# SPDX-License-Identifier: Apache-2.0
"""A host that still runs the predecessor: its agent and broker as one, with its timings.

Every 10 s it reads all blocks, asks VDSM and the engine's page, decides (predecessor.py), acts,
and writes its own block. It knows nothing of our lock file: only the VM lease keeps it and us
apart. An orderly stop leaves a block of state AgentStopped, with score 0. One that starts in
local maintenance writes nothing until that is over, so that its peers see its last block go
stale (facts/predecessor-and-peers.md 1.8).

Of what lowers its score the network and the bridge are simulated, by one sample each as it has
them; the CPU load, which it averages over 15 minutes, and the memory are not.

Its block has no `agent=` line and is laid out as its own code does (facts/ovf-and-volumes.md).
"""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Optional

from ha_agent.broker.blocks.codec import BlockError, decode, decode_global
from ha_agent.errors import EnvironmentFault
from ha_agent.sim.lane import SimLane
from ha_agent.sim.loop import Process
from ha_agent.sim.predecessor import BASE_SCORE, Look, Machine, Peer, step
from ha_agent.sim.probes import NO_NETWORK
from ha_agent.sim.vdsm import SimVdsmCalls
from ha_agent.vdsm.vm_status import ExitReason, VmStats, VmStatus, lost_lease_race

if TYPE_CHECKING:
    from ha_agent.sim.host import SimHost

LOOP_SECONDS = 10.0
_STARTS_IN_MAINTENANCE_SECONDS = 2.0
_IO_DEADLINE_SECONDS = 30.0
_NETWORK_POINTS, _BRIDGE_POINTS = 1600, 600


class OldPeer:
    """The predecessor on one host. Make it within its process."""

    def __init__(self, host: SimHost, process: Process) -> None:
        self.host = host
        self.process = process
        self._lane = SimLane(host.world.loop, host.path, "old")
        self._vdsm = SimVdsmCalls(host, process, lambda: None)
        self._machine = Machine()
        self._status = {"vm": "down", "health": "bad", "detail": "unknown"}
        self._refused = False
        self._stopping = False
        process.spawn(self._run())

    def request_stop(self) -> None:
        """systemctl stop."""
        if not self._stopping:
            self._stopping = True
            self.process.spawn(self._leave())

    async def _run(self) -> None:
        await self.host.clock.sleep(self.host.dice.uniform(0.0, LOOP_SECONDS))
        while self.host.local_maintenance:
            await self.host.clock.sleep(_STARTS_IN_MAINTENANCE_SECONDS)
        while not self._stopping:
            try:
                await self._look()
            except EnvironmentFault:
                self._say("StartState", "storage or VDSM did not answer")
                # Its agent ends at such a fault and is started again: what it saw is forgotten.
                self._machine = Machine()
            await self.host.clock.sleep(LOOP_SECONDS)

    async def _leave(self) -> None:
        self._say("AgentStopped", "the agent is stopping")
        self._machine = Machine("AgentStopped")
        try:
            await self._write()
        except EnvironmentFault:
            self.host.say("(old) its last block could not be written")
        self.host.peer_left()

    async def _look(self) -> None:
        answer = await self._lane.call(
            "scan_slots", _IO_DEADLINE_SECONDS, path="status", count=2001
        )
        flag, peers = self._read({e["slot"]: e["data"] for e in answer["slots"]})
        self._status = self._engine_status(await self._vdsm.vm_stats(self.host.world.vm_uuid))
        look = Look(
            self.host.clock.now().boottime_seconds,
            self._status,
            peers,
            flag,
            self.host.local_maintenance,
            self._penalty(),
            self._refused,
        )
        if self._stopping:
            return
        done = step(self._machine, look)
        self._say(done.machine.state, done.why)
        self._machine, self._refused = done.machine, False
        if done.action:
            await self._act(done.action)
        if not self._stopping:
            await self._write()

    def _read(self, slots: dict[int, bytes]) -> tuple[bool, dict[int, Peer]]:
        flag, peers = False, {}
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
            status = block.engine_status
            if isinstance(status, dict):
                peers[slot] = Peer(block.timestamp_seconds, block.score, status)
        return flag, peers

    def _engine_status(self, vm: Optional[VmStats]) -> dict[str, str]:
        before = self._status["vm"]
        if vm is None:
            word = "down_missing" if before in ("up", "down_missing") else before
            reason = "vm not running on this host"
            return {"vm": word, "health": "bad", "detail": "unknown", "reason": reason}
        detail = vm.status_text
        if vm.status in (VmStatus.DOWN, VmStatus.MIGRATION_DESTINATION):
            orderly = vm.status is VmStatus.DOWN and (
                lost_lease_race(vm.exit_message)
                or vm.exit_reason is ExitReason.MIGRATION_SUCCEEDED
            )
            word = "down" if orderly or before == "down" else "down_unexpected"
            return {"vm": word, "health": "bad", "detail": detail, "reason": "bad vm status"}
        starting = (VmStatus.PAUSED, VmStatus.WAIT_FOR_LAUNCH, VmStatus.POWERING_UP)
        if vm.status in starting or self.host.world.page(self.host) != "good":
            return {"vm": "up", "health": "bad", "detail": detail, "reason": "bad vm status"}
        return {"vm": "up", "health": "good", "detail": detail}

    def _penalty(self) -> int:
        faults, points = self.host.faults, 0
        if not faults.keys().isdisjoint(NO_NETWORK):
            points += _NETWORK_POINTS
        elif "network-flaky" in faults:
            points += int(_NETWORK_POINTS * faults["network-flaky"])
        return points + (_BRIDGE_POINTS if "bridge-down" in faults else 0)

    async def _act(self, action: str) -> None:
        uuid = self.host.world.vm_uuid
        try:
            if action == "shutdown":
                await self._vdsm.shutdown_vm(uuid)
                return
            # A start clears what is left of the last run, as `hosted-engine --vm-start` does.
            await self._vdsm.destroy_vm(uuid)
            if action == "start":
                await self._vdsm.create_vm(uuid, self.host.world.definition)
                self._status = {"vm": "down", "health": "bad", "detail": "unknown"}
        except EnvironmentFault:
            self._refused = action == "start"

    async def _write(self) -> None:
        now = self.host.clock.now().boottime_seconds
        machine = self._machine
        end = machine.timeout_at
        data = old_block(
            self.host.host_id,
            self.host.name,
            int(now),
            machine.score(self._penalty()),
            json.dumps(self._status),
            machine.state == "LocalMaintenance",
            machine.state,
            machine.state == "AgentStopped",
            "" if end is None else time_text(end),
        )
        await self._lane.call(
            "write_slot", _IO_DEADLINE_SECONDS, path="status", slot=self.host.host_id, data=data
        )

    def _say(self, state: str, why: str) -> None:
        before = self._machine.state
        if state != before:
            self.host.say(f"(old) {before} -> {state}: {why}")


def time_text(seconds: float) -> str:
    """Return a time as it stands in a block; the simulated calendar begins with the clock."""
    hours, rest = divmod(int(seconds) % 86400, 3600)
    return f"Thu Jan  1 {hours:02}:{rest // 60:02}:{rest % 60:02} 1970"


def first_block(host_id: int, name: str, *, with_engine: bool) -> bytes:
    """Return the block of a host that has been up for long."""
    status = {"vm": "down", "health": "bad", "detail": "unknown"}
    if with_engine:
        status = {"vm": "up", "health": "good", "detail": "Up"}
    state = "EngineUp" if with_engine else "EngineDown"
    return old_block(host_id, name, 1, BASE_SCORE, json.dumps(status), False, state)


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
