# SPDX-License-Identifier: Apache-2.0
"""For the tests of upgrade: hosts of 3.5 and of 4.x as folders, on a domain in memory.

Volumes are files, VDSM is tests/broker/store_world's, units are those of a systemd with its
aliases. Every call that changes something is a point at which the run can be killed.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional, cast

from ha_agent.broker.blocks import codec
from ha_agent.broker.storage.lane import StorageFault, StorageLane
from ha_agent.broker.store.writer import WriterDeadlines
from ha_agent.config.schema import Config
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import WallTime
from ha_agent.ovfstore.conf_volume import encode_conf_volume
from ha_agent.setup.journal import open_journal
from ha_agent.setup.services import OUR_UNITS, PREDECESSOR_UNITS, UnitState
from ha_agent.setup.upgrade.backup import newest_backup
from ha_agent.setup.upgrade.ground import Ground, read_facts
from ha_agent.setup.upgrade.predecessor_host import parse_conf
from ha_agent.setup.upgrade.upgrade import run_upgrade
from ha_agent.vdsm.client.verbs import Vdsm
from ha_agent.vdsm.errors import VdsmCallFailed
from tests.broker.store_world import DOMAIN, VM, Host, JumpingClock, Killed, World, image_of

DATA = Path(__file__).parents[1] / "data" / "predecessor"
STATUS, CONF, DISK, LOCKSPACE = (str(uuid.UUID(int=number)) for number in (50, 51, 52, 53))
HOST_NAME = "h1.example.com"
ETC = "etc/ovirt-hosted-engine"
BLANK = "00000000-0000-0000-0000-000000000000"


def file_of(name: str, **more: str) -> str:
    """Return one of the made-up files of tests/data/predecessor, with the world's ids in it."""
    text = (DATA / name).read_text()
    ids = {
        "DOMAIN": DOMAIN, "VM": VM, "STATUS": STATUS, "STATUS_IMAGE": image_of(STATUS),
        "LOCKSPACE": LOCKSPACE, "LOCKSPACE_IMAGE": image_of(LOCKSPACE), "CONF": CONF,
        "CONF_IMAGE": image_of(CONF), "DISK": DISK, "DISK_IMAGE": image_of(DISK), **more,
    }  # fmt: skip
    for name_of_id, value in ids.items():
        text = text.replace(f"@{name_of_id}@", value)
    return text


def make_35(root: Path, host_id: int = 1) -> None:
    """Make the files of a 3.5 host."""
    make_packages(root)
    for name, content in (
        (f"{ETC}/hosted-engine.conf", file_of("hosted-engine-3.5.conf", HOST_ID=str(host_id))),
        (f"{ETC}/answers.conf", file_of("answers.conf")),
        (f"{ETC}/vm.conf", file_of("vm.conf")),
        ("etc/ovirt-hosted-engine-ha/broker.conf", file_of("broker.conf")),
    ):
        put(root, name, content)


def make_4x(root: Path, host_id: int = 1) -> None:
    """Make the files of a 4.x host."""
    make_packages(root)
    put(root, f"{ETC}/hosted-engine.conf", conf_4x(host_id))
    put(root, f"{ETC}/answers.conf", file_of("answers.conf"))
    put(root, "var/lib/ovirt-hosted-engine-ha/ha.conf", "local_maintenance=False\n")


def make_packages(root: Path) -> None:
    """Put the predecessor's unit files where its package has them."""
    for name in PREDECESSOR_UNITS:
        put(root, f"usr/lib/systemd/system/{name}", "[Service]\n")


def conf_4x(host_id: int = 1) -> str:
    """Return the hosted-engine.conf of a 4.x host."""
    return file_of("hosted-engine-4.x.conf", HOST_ID=str(host_id))


def put(root: Path, name: str, content: str) -> None:
    """Write a file below a root; 0640, as the predecessor's packages have it."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o640)


def shared_files() -> dict[str, bytes]:
    """Return what a 4.x cluster has in its configuration volume."""
    return {
        "version": b"2.5.2",
        "fhanswers.conf": file_of("answers.conf").encode(),
        "hosted-engine.conf": conf_4x().encode(),
        "broker.conf": file_of("broker.conf").encode(),
        "vm.conf": file_of("vm.conf").encode(),
    }


def make_storage(folder: Path, *, conf: Optional[Mapping[str, bytes]]) -> World:
    """Make the domain's volumes; `conf` is what the configuration volume has, None: no volume."""
    folder.mkdir(parents=True, exist_ok=True)
    world = World(folder)
    world.add(STATUS, "HostedEngineMetaData", disk_type="HEMD")
    world.add(LOCKSPACE, "HostedEngineLockspace", disk_type="HESD")
    world.add(DISK, "he_virtio_disk", disk_type="HEVD", capacity_bytes=3 << 30)
    if conf is not None:
        archive = encode_conf_volume(conf, WallTime(1e9)) if conf else b""
        world.add(CONF, "HostedEngineConfiguration", archive, disk_type="HECI")
    return world


def sanlock_place(vm_uuid: str, *, lockspace: bytes = b"a lockspace") -> bytes:
    """Return a place of sanlock: a lockspace, and the resource of a VM, with nobody's lease."""
    words = struct.pack("<IIII", 0x06152010, 0, 0, 512) + struct.pack("<QQQQQ", 0, 0, 0, 0, 0)
    leader = words + b"ha-agent".ljust(48, b"\0") + vm_uuid.encode().ljust(48, b"\0") + bytes(8)
    return lockspace.ljust(1 << 20, b"\0") + leader.ljust(1 << 20, b"\0")


def write_block(world: World, host_id: int, host_name: str) -> None:
    """Write a host's status block."""
    block = codec.StatusBlock(
        host_id,
        host_name,
        1,
        3400,
        {"vm": "down", "health": "bad", "detail": "unknown", "reason": "no"},
    )
    with world.volumes[STATUS].path.open("r+b") as file:
        file.seek(4096 * host_id)
        file.write(codec.encode(block))


@dataclass
class Units:
    """A systemd with units of both kinds; our agent and broker have the old names as aliases."""

    running: set[str] = field(default_factory=lambda: set(PREDECESSOR_UNITS))
    enabled: set[str] = field(default_factory=lambda: set(PREDECESSOR_UNITS))
    installed: set[str] = field(default_factory=lambda: {*PREDECESSOR_UNITS, *OUR_UNITS})
    log: list[str] = field(default_factory=list)
    step: Callable[[str], None] = lambda _what: None
    fault: str = ""

    def real(self, name: str) -> str:
        ours = name[len("ovirt-") :]
        return ours if name in PREDECESSOR_UNITS and ours in self.enabled else name

    async def states(self, names: Sequence[str]) -> dict[str, UnitState]:
        found = {}
        for name in names:
            real = self.real(name)
            there = real in self.installed
            found[name] = UnitState(name, real, there, real in self.running, real in self.enabled)
        return found

    async def enable(self, names: Sequence[str]) -> None:
        self._do("enable", names, lambda name: self.enabled.add(name))

    async def disable(self, names: Sequence[str]) -> None:
        self._do("disable", names, lambda name: self.enabled.discard(name))

    async def start(self, names: Sequence[str]) -> None:
        self._do("start", names, lambda name: self.running.add(name))
        kinds = [self.running & set(units) for units in (PREDECESSOR_UNITS, OUR_UNITS)]
        assert not all(kinds), f"agents of both kinds run: {kinds}"

    async def stop(self, names: Sequence[str]) -> None:
        self._do("stop", names, lambda name: self.running.discard(name))

    def _do(self, verb: str, names: Sequence[str], change: Callable[[str], None]) -> None:
        for name in names:
            if self.fault == f"{verb} {name}":
                raise EnvironmentFault(f"systemctl {self.fault}: refused")
            self.step(f"{verb} {name}")
            self.log.append(f"{verb} {name}")
            change(self.real(name))


@dataclass
class Watching:
    """Our agent watches when its unit runs."""

    units: Units

    async def look(self) -> tuple[bool, str]:
        watches = "ha-agent.service" in self.units.running
        return watches, "EngineDown" if watches else "the broker does not answer"


class MovingClock(JumpingClock):
    """A clock on which every look at the calendar is a second later."""

    def wall(self) -> WallTime:
        self.slept.append(0.0)
        return WallTime(1_700_000_000.0 + len(self.slept))


class VdsmHost(Host):
    """The store's VDSM with what an upgrade asks besides; counts and kills all that changes."""

    def __init__(self, world: World, machine: Machine) -> None:
        super().__init__(world, host_id=machine.host_id)
        self.machine = machine

    def step(self, name: str, take_effect: Callable[[], Any]) -> Any:
        self.machine.point(name)
        answer = take_effect()
        self.machine.point(f"after {name}")
        return answer

    def lane(self) -> StorageLane:
        return cast(StorageLane, CountingLane(self, super().lane()))

    def _ping2(self) -> bool:
        if self.machine.vdsm_is_down:
            raise EnvironmentFault("VDSM at localhost:54321 does not answer")
        return True

    def _getCapabilities(self) -> dict[str, Any]:
        machines = ",".join(self.machine.machines)
        return {"memSize": "32768", "cpuThreads": "8", "emulatedMachines": machines.split(",")}

    def _getStats(self, vmID: str) -> list[dict[str, Any]]:
        raise VdsmCallFailed("VM.getStats", 1, "Virtual machine does not exist")


class CountingLane:
    """A lane whose writes are points of a kill, too."""

    def __init__(self, host: VdsmHost, lane: StorageLane) -> None:
        self._host = host
        self._lane = lane

    def stats(self) -> dict[str, Any]:
        return self._lane.stats()

    async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any:
        self._host.machine.before_call(operation)
        counts = operation in ("lease_initialise", "write_conf_volume", "sanlock_initialise")
        if counts:
            self._host.machine.point(operation)
        if operation.startswith("sanlock_"):
            return self._sanlock(operation, Path(args["path"]))
        try:
            answer = await self._lane.call(operation, deadline_seconds, **args)
        except StorageFault as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise StorageFault("ENOENT", operation, args["path"], "not there") from error
            raise
        if counts:
            self._host.machine.point(f"after {operation}")
        return answer

    def _sanlock(self, operation: str, path: Path) -> dict[str, Any]:
        """Stand for a daemon: what it makes is a place that is not all zeros."""
        if not self._host.machine.has_sanlock:
            raise EnvironmentFault("no sanlock daemon answers on this host")
        if operation == "sanlock_initialise":
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(sanlock_place(VM))
            self._host.machine.point("after sanlock_initialise")
        return {}


class Machine:
    """One host: a root folder, units, and a run of an upgrade after the other."""

    def __init__(self, folder: Path, world: World, host_id: int = 1) -> None:
        self.root = folder / f"root{host_id}"
        self.state = folder / f"state{host_id}"
        self.world = world
        self.host_id = host_id
        self.host_name = f"h{host_id}.example.com"
        self.units = Units(step=self.point)
        self.clock = MovingClock()
        self.machines: tuple[str, ...] = ("pc", "q35", "pc-i440fx-7.2")
        self.vdsm_is_down = False
        self.has_sanlock = True
        self.accepted: tuple[str, ...] = ()
        self.mount_options = "rw,vers=4.2"
        self.kill_at = -1
        self.before_call: Callable[[str], None] = lambda _operation: None
        self.points: list[str] = []
        self.said: list[str] = []

    @property
    def setup_dir(self) -> Path:
        return self.state / "setup"

    def point(self, name: str) -> None:
        self.points.append(name)
        if len(self.points) - 1 == self.kill_at:
            raise Killed(name)

    def load(self) -> Config:
        """Stand for the loading of the configuration: what it means is the file's."""
        text = (self.root / ETC / "hosted-engine.conf").read_bytes()
        return config_of(text, self.world.folder)

    async def upgrade(self, *, dry_run: bool = False) -> tuple[str, ...]:
        facts = read_facts(self.root, newest_backup(self.setup_dir))
        host = VdsmHost(self.world, self)
        with open_journal(self.state, "upgrade", facts.subject, write=not dry_run) as journal:
            ground = Ground(
                root=self.root,
                setup_dir=self.setup_dir,
                domain_path=self.world.folder,
                host_name=self.host_name,
                facts=facts,
                vdsm=Vdsm(host),
                lane=host.lane(),
                services=self.units,
                watch=Watching(self.units),
                clock=self.clock,
                journal=journal,
                accepted=self.accepted,
                deadlines=WriterDeadlines(),
            )
            return await run_upgrade(
                ground,
                mount_options=self.mount_options,
                load=self.load,
                say=self.said.append,
                dry_run=dry_run,
            )

    def tree(self) -> dict[str, bytes]:
        """Return every file of the host, our own folder apart."""
        files = (path for path in self.root.rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)): path.read_bytes() for path in files}


def config_of(data: bytes, domain_path: Path) -> Config:
    """Return what matters of the configuration that a hosted-engine.conf stands for."""
    from types import SimpleNamespace as Space

    values = parse_conf(data, "hosted-engine.conf").values
    place = domain_path / "ha_agent" / values["vmid"]
    backend = values.get("ha_agent_lease_backend", "lockfile")
    return cast(
        Config,
        Space(
            host=Space(id=int(values["host_id"])),
            engine=Space(vm_uuid=values["vmid"]),
            storage=Space(domain_uuid=values["sdUUID"]),
            lease=Space(
                backend=backend,
                path=Path(values.get("ha_agent_lease_path", place.with_suffix(".lease"))),
            ),
            sanlock=Space(
                path=Path(values.get("ha_agent_sanlock_path", place.with_suffix(".sanlock")))
            ),
        ),
    )
