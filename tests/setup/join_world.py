# SPDX-License-Identifier: Apache-2.0
"""A cluster on a file domain in a folder, as `deploy` leaves it, and hosts that join it."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from ha_agent.broker.lease import file as lease_file
from ha_agent.clock import SystemClock
from ha_agent.instant import Instant
from ha_agent.ovfstore.conf_volume import encode_conf_volume
from ha_agent.setup.host_files import machine_id
from ha_agent.setup.join import host_id as rules
from ha_agent.setup.join.cluster_conf import Cluster, ClusterConf, place_of
from ha_agent.setup.join.cluster_source import FolderSource
from ha_agent.setup.join.host_register import HostRegister
from ha_agent.setup.join.join import JoinPlan, join_steps
from ha_agent.setup.journal import open_journal
from ha_agent.setup.own_host import OwnFiles
from ha_agent.setup.runner import run_steps
from ha_agent.setup.services import UnitState
from ha_agent.setup.upgrade.predecessor_host import BROKER_CONF, HOSTED_ENGINE_CONF
from ha_agent.vdsm import file_domain
from tests.setup.register_world import HereLane

BROKER_TEXT = "[email]\nsmtp-server = mail.example.com\n[notify]\nstate_transition = .*\n"
CLOCK = SystemClock()


@dataclasses.dataclass(frozen=True)
class Shared:
    """What all hosts share."""

    path: Path
    uuid: str
    vm_uuid: str
    status: Path
    conf_volume: Path
    conf_text: str

    @property
    def lease(self) -> Path:
        return self.path / "ha_agent" / f"{self.vm_uuid}.lease"

    def put(self, **files: Optional[str]) -> None:
        """Replace files of the configuration volume: dots in names are "_" here, None removes."""
        texts = {"hosted-engine.conf": self.conf_text, "broker.conf": BROKER_TEXT}
        texts.update({"version": "2.5.1", "fhanswers.conf": "", "vm.conf": "vmId=1\n"})
        names = {name.replace(".", "_").replace("-", "_"): name for name in texts}
        texts.update({names[name]: text for name, text in files.items() if text is not None})
        data = encode_conf_volume({n: t.encode() for n, t in texts.items()}, CLOCK.wall())
        with self.conf_volume.open("r+b") as file:
            file.write(data)


def make_cluster(parent: Path, more: str = "") -> Shared:
    """Make domain, status volume, lock file and configuration volume."""
    parent.mkdir(exist_ok=True)
    domain, vm_uuid = str(uuid.uuid4()), str(uuid.uuid4())
    path = file_domain.create_domain(parent, domain, name="hosted_storage")
    made = {}
    for kind, size_bytes in (("HEMD", 1 << 20), ("HECI", 1 << 20), ("HEVD", 4096)):
        image, volume = str(uuid.uuid4()), str(uuid.uuid4())
        made[kind] = (image, volume, file_domain.create_volume(
            path, image, volume, size_bytes, kind, kind, created_at_seconds=0
        ))  # fmt: skip
    image, volume, status = made["HEMD"]
    text = (
        f"fqdn=engine.example.com\nvmid={vm_uuid}\nsdUUID={domain}\nhost_id=1\n"
        f"metadata_image_UUID={image}\nmetadata_volume_UUID={volume}\n"
        f"ha_agent_storage_domain_type=localfs\nha_agent_storage_domain_path={path}\n{more}"
    )
    shared = Shared(path, domain, vm_uuid, status, made["HECI"][2], text)
    shared.put()
    shared.lease.parent.mkdir()
    lease_file.lease_initialise(str(shared.lease))
    return shared


class HastyClock(SystemClock):
    """Ten seconds later at every look."""

    def __init__(self) -> None:
        self._looks = 0

    def now(self) -> Instant:
        self._looks += 1
        return super().now() + 10.0 * self._looks


class FakeServices:
    """systemd, as far as set-up asks it."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.enabled: set[str] = set()
        self.absent: set[str] = set()

    async def states(self, names: Sequence[str]) -> dict[str, UnitState]:
        return {
            name: UnitState(
                name, name, name not in self.absent, name in self.running, name in self.enabled
            )
            for name in names
        }

    async def enable(self, names: Sequence[str]) -> None:
        self.enabled |= set(names)

    async def disable(self, names: Sequence[str]) -> None:
        self.enabled -= set(names)

    async def start(self, names: Sequence[str]) -> None:
        self.running |= set(names)

    async def stop(self, names: Sequence[str]) -> None:
        self.running -= set(names)


class JoiningHost:
    """A host with a root of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.root = folder / name
        self.services = FakeServices()
        self.said: list[str] = []
        etc = self.root / "etc"
        (etc / "ha-agent").mkdir(parents=True, exist_ok=True)
        (etc / "machine-id").write_text(f"{uuid.uuid5(uuid.NAMESPACE_DNS, name).hex}\n")
        (etc / "ha-agent" / "ha-agent.conf").write_text(
            f"[host]\nname = {name}\nrun_dir = {self.root}/run\nstate_dir = {self.root}/state\n"
        )

    @property
    def conf(self) -> Path:
        return self.root / HOSTED_ENGINE_CONF

    @property
    def broker_conf(self) -> Path:
        return self.root / BROKER_CONF

    @property
    def files(self) -> OwnFiles:
        return OwnFiles(self.root, [], {})

    def steps(self, journal: Any, source_path: Path, lane: Any, **more: Any) -> Any:
        """The steps of a join of this host."""
        own = self.files.settings_alone()
        mark = rules.machine_mark(machine_id(self.root))
        source = FolderSource(lane, source_path, domain_uuid=more.pop("domain_uuid", ""))

        def register_of(found: ClusterConf) -> HostRegister:
            place = place_of(found.settings, found.status_path)
            return HostRegister(lane, place, rules.Joiner(own.host.name, mark), clock=CLOCK)

        given = more.pop("given", None)
        plan = JoinPlan(
            root=self.root,
            source=source,
            cluster=Cluster(self.root, source, self.files.settings_with, given),
            journal=journal,
            register_of=register_of,
            services=self.services,
            **more,
        )
        return join_steps(plan)

    async def join(
        self, path: Path, *, dry_run: bool = False, lane: Any = None, **more: Any
    ) -> tuple[str, ...]:
        """Join, as `ha-agent join --path` does it; return the names of the steps that were due."""
        state_dir = self.root / "state"
        subject = str(path)
        with open_journal(state_dir, "join", subject, write=not dry_run, anew=True) as journal:
            steps = self.steps(journal, path, lane or HereLane(), **more)
            return await run_steps(
                steps, journal=journal, say=self.said.append, dry_run=dry_run, clock=CLOCK
            )

    def host_id(self) -> int:
        for line in self.conf.read_text().splitlines():
            if line.startswith("host_id="):
                return int(line.partition("=")[2])
        raise AssertionError(f"no host_id in {self.conf}")
