# SPDX-License-Identifier: Apache-2.0
"""Three hosts, set up by the product itself. Implements ports.Cluster.

    with lab_cluster(plan, work, Choices(), say) as cluster: ...     made, set up, and taken down

The set-up is that of docs/guides: packages installed on each host, `ha-agent deploy --answers`
on host1, `ha-agent join --answers` on host2 and host3. Of the lab are only the answers: where the
storage is, the guest's image, its 192 MiB, TLS off for the embedded VDSM. All our own settings
have their shipped defaults, timings included; kind "block" alone says where sanlock's device is.

`make` is what comes before the product: network, storage, three hosts up, without packages.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

from demo.guest import MEMORY_MIB, build_guest
from lab.host import LabHost
from lab.network import LabNetwork
from lab.packages import Package, built_packages, install
from lab.plan import ENGINE_NAME, HOSTS, PREFIX_LENGTH, LabPlan
from lab.ports import LabError
from lab.storage import BLOCK_THERE, SHARE_THERE, LabStorage
from lab.tools import must, unmount, wait_until

Say = Callable[[str], None]

ROOT = Path(__file__).parents[1]
GUEST_CACHE = ROOT / ".cache" / "guest"
DAEMONS = ("ha-vdsm.service", "ha-broker.service", "ha-agent.service")
WORK_MIB = 2048
SET_UP_DEADLINE_SECONDS = 300.0
READY_DEADLINE_SECONDS = 120.0
_ANSWERS = "/root/answers.conf"
_IMAGE = "/root/engine.img"
_MAC = "00:16:3e:35:83:68"


@dataclass(frozen=True)
class Choices:
    """What a lab is like. `settings` are ours, "section.key" -> text, for all hosts: no case that
    is measured has any. `lease` is lockfile or sanlock; a block lab has sanlock's."""

    storage: str = "file"
    lease: str = "lockfile"
    settings: Mapping[str, str] = field(default_factory=dict)
    packages: Optional[Sequence[Package]] = None

    @property
    def all_settings(self) -> dict[str, str]:
        """Our settings as the answers file has them."""
        found = {"sanlock.path": BLOCK_THERE} if self.storage == "block" else {}
        return {**found, **self.settings}

    @property
    def uses_sanlock(self) -> bool:
        """Whether the ownership is sanlock's. The VM lease is QEMU's lock in any case: as a
        setting that a deploy writes, `[vdsm-server] vm_lease` would come too late. The ha-vdsm
        that makes the domain runs without it, and makes no lockspace for such leases."""
        return self.lease == "sanlock" or self.storage == "block"


def answers_text(choices: Choices, gateway: str = "") -> str:
    """Return the answers file for `ha-agent deploy` and `join`. Pure.

    `gateway` is pinged by each host, to know whether its network works.
    """
    answers = {
        "storage_type": "localfs",
        "storage_connection": SHARE_THERE,
        "lease_backend": "sanlock" if choices.uses_sanlock else "lockfile",
        "engine_fqdn": ENGINE_NAME,
        "memory_mib": str(MEMORY_MIB),
        "cpus": "1",
        "mac": _MAC,
        **({"gateway": gateway} if gateway else {}),
        "machine": "pc",
        "console": "none",
        "disk_image_file": _IMAGE,
        "vdsm_ssl": "false",
    }
    lines = [f"{name} = {text}" for name, text in answers.items()]
    lines += ["[settings]", *(f"{key} = {text}" for key, text in choices.all_settings.items())]
    return "\n".join([*lines, ""])


class LabCluster:
    """One lab: hosts by name, their storage, their network."""

    def __init__(
        self,
        plan: LabPlan,
        choices: Choices = Choices(),
        say: Say = print,
        numbers: Sequence[int] = range(1, HOSTS + 1),
    ) -> None:
        self.plan = plan
        self.choices = choices
        self.network = LabNetwork(plan)
        self.storage = LabStorage(plan, choices.storage)
        self.hosts: dict[str, LabHost] = {}
        self.vm_uuid = ""
        self._say = say
        for number in numbers:
            self._add(LabHost(plan, number, ROOT))

    def _add(self, host: LabHost) -> None:
        def plug() -> None:
            self.storage.plug(host.name)
            host.binds = self.storage.binds(host.name)

        host.before_boot = plug
        host.on_power_cut = lambda: self.storage.unplug(host.name)
        self.hosts[host.name] = host

    # Making ---------------------------------------------------------------------------------

    def make(self) -> None:
        """Boot three hosts that have nothing yet, with network and storage. Raises LabError."""
        work = self.plan.work
        work.mkdir(parents=True, exist_ok=True)
        options = f"size={WORK_MIB}m,mode=0711"
        must(["mount", "-t", "tmpfs", "-o", options, "ha-lab-work", str(work)])
        self.network.make()
        for host in self.hosts.values():
            host.make()
        self.storage.make()
        self._say(f"{', '.join(self.hosts)} boot")
        self.each(_boot)
        self._say("they are up")

    def install(self, packages: Optional[Sequence[Package]] = None) -> None:
        """Install the packages on all hosts. Raises LabError."""
        found = packages or self.choices.packages or built_packages()
        names = ", ".join(f"{package.name} {package.version}" for package in found)
        self._say(f"dpkg -i: {names}")
        self.each(lambda host: install(host, found))

    def set_up(self) -> None:
        """Make a cluster of hosts that have the packages; the engine VM then starts by itself.
        Raises LabError."""
        image = self.plan.work / "engine.img"
        address = f"{self.plan.engine_address}/{PREFIX_LENGTH}"
        build_guest(GUEST_CACHE, image=image, progress=self._say, address=address)
        shutil.copyfile(image, self.hosts["host1"].root / _IMAGE.lstrip("/"))
        for host in self.hosts.values():
            answers = answers_text(self.choices, self.plan.observer_address)
            host.must("sh", "-c", f"cat >{_ANSWERS}", text=answers)
        self.each(_start_daemons)
        for host in self.hosts.values():
            verb = "deploy" if host.number == 1 else "join"
            self._say(f"{host.name}# ha-agent {verb} --answers {_ANSWERS}")
            host.must(
                "ha-agent", verb, "--answers", _ANSWERS, deadline_seconds=SET_UP_DEADLINE_SECONDS
            )
        self._note_vm()

    def _note_vm(self) -> None:
        """Read from host1 what was chosen."""
        told = self.hosts["host1"].must("cat", "/etc/ovirt-hosted-engine/hosted-engine.conf")
        keys = parse_conf(told)
        self.vm_uuid = keys["vmid"]
        self.storage.disk_is(keys["sdUUID"], keys["vm_disk_id"], keys["vm_disk_vol_id"])

    def wait_engine(self, deadline_seconds: float = READY_DEADLINE_SECONDS) -> str:
        """Wait until a host says that the engine on it is healthy, and return its name."""
        found = ""

        def is_healthy() -> bool:
            nonlocal found
            found = next((name for name in self.hosts if self.says_healthy(name)), "")
            return bool(found)

        wait_until(is_healthy, deadline_seconds, "no host says that its engine is healthy")
        return found

    def says_healthy(self, name: str) -> bool:
        """Whether a host, by its own `ha-agent status --json`, runs a healthy engine."""
        host = self.hosts[name]
        if host.leader is None:
            return False
        told = host.run("ha-agent", "status", "--json").stdout
        try:
            own = json.loads(told).get(str(host.number), {})
        except json.JSONDecodeError:
            return False
        return bool(own.get("live-data")) and own.get("engine-status", {}).get("health") == "good"

    def each(self, deed: Callable[[LabHost], object]) -> None:
        """Do it on all hosts at once; raises the first error, after all have ended. A Ctrl-C waits
        for none: they end with their hosts."""
        pool = ThreadPoolExecutor(len(self.hosts))
        try:
            done = [pool.submit(deed, host) for host in self.hosts.values()]
            wait(done)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        for one in done:
            one.result()

    # Ends -----------------------------------------------------------------------------------

    def keep_journals(self, folder: Path) -> None:
        """Copy each host's journal and console there: <folder>/hostN/."""
        for name, host in self.hosts.items():
            kept = folder / name
            kept.mkdir(parents=True, exist_ok=True)
            if host.journal.is_dir():
                shutil.copytree(host.journal, kept / "journal", dirs_exist_ok=True)
                (kept / "journal.txt").write_text(host.journal_text(0.0, "-o", "short-precise"))
            if host.console.exists():
                shutil.copy(host.console, kept)

    def remove(self) -> None:
        """Leave nothing of it: hosts, storage, network, its folder."""
        for host in self.hosts.values():
            host.remove()
        self.storage.remove()
        self.network.remove()
        unmount(self.plan.work)


def _boot(host: LabHost) -> None:
    host.boot()
    host.wait_up()


def _start_daemons(host: LabHost) -> None:
    """As the guides say, VDSM answers before anything is set up. Our package has put sanlock's
    user into the group of the domain's files, which counts from sanlock's next start."""
    host.must("systemctl", "restart", "sanlock.service", deadline_seconds=120)
    host.must("systemctl", "start", "ha-vdsm.service", deadline_seconds=120)


def parse_conf(text: str) -> dict[str, str]:
    """Return the keys of a hosted-engine.conf. Pure."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


@contextlib.contextmanager
def lab_cluster(plan: LabPlan, choices: Choices, say: Say) -> Iterator[LabCluster]:
    """Yield a cluster whose engine is healthy; leave nothing of it. Raises LabError."""
    cluster = LabCluster(plan, choices, say)
    try:
        cluster.make()
        cluster.install()
        cluster.set_up()
        owner = cluster.wait_engine()
        say(f"the engine answers, says {owner}")
        yield cluster
    finally:
        cluster.remove()


__all__ = ["Choices", "LabCluster", "LabError", "answers_text", "lab_cluster", "parse_conf"]
