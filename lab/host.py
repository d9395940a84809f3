# SPDX-License-Identifier: Apache-2.0
"""One lab host: a container that boots systemd as its PID 1. Implements ports.Host.

    host.boot()                    switch it on; returns at once
    host.wait_up()                 until systemd has started what is enabled
    host.run("ha-agent", "status") as its root, with a deadline
    host.power_cut()               SIGKILL to all of it at once, QEMU too; returns when it is gone
    host.freeze(), host.thaw()     everything on it stops and goes on, as a suspended machine
    host.shut_down()               in order, as `poweroff` does
    host.fake_clock(units), host.jump_clock(3600)    see host_clock.py
    host.journal_text(since), host.unit("ha-agent.service")

The container (systemd-nspawn) has network, process, mount, IPC and UTS namespaces of its own, and
this machine's users. All its processes are in one cgroup, named as the container, which is also
how a later run finds them. `leader` is its PID 1 as this machine knows it: whose pid namespace a
process is in says which host it is of (`has_process`).

A power cut takes what the host had under way on its storage with it: `on_power_cut` is called
after the SIGKILL, and must make calls fail that hang there, for processes that wait in the kernel
would not end.

It must not touch what the product does: nothing of ours is started, stopped or configured here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from lab import host_clock
from lab.cgroup import CGROUPS, freeze, kill_all, remove_cgroup
from lab.overlay import make_root, take_root
from lab.plan import LabPlan
from lab.ports import LabError
from lab.root_files import HIDDEN_FOLDERS, host_files, host_links
from lab.tools import call, must, wait_gone, wait_until

BOOT_DEADLINE_SECONDS = 120.0
END_DEADLINE_SECONDS = 60.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Unit:
    """A unit as systemd there has it."""

    name: str
    active: str
    sub: str
    main_pid: int
    restarts: int
    status: str


@dataclass
class LabHost:
    """`checkout` is hidden in it, and `binds` are what it shares with this machine: path there ->
    path here."""

    plan: LabPlan
    number: int
    checkout: Path
    binds: Mapping[str, Path] = field(default_factory=dict)
    before_boot: Callable[[], None] = lambda: None
    on_power_cut: Callable[[], None] = lambda: None
    held: tuple[int, ...] = ()
    """Descriptors that its container keeps open as long as it has power."""
    _container_process: Optional[subprocess.Popen[bytes]] = None

    @property
    def name(self) -> str:
        """Its host name, "host1"."""
        return f"host{self.number}"

    @property
    def address(self) -> str:
        """Its address on the bridge."""
        return self.plan.host_address(self.number)

    @property
    def folder(self) -> Path:
        """What it has on this machine: its layers, its root, its console's log."""
        return self.plan.work / self.name

    @property
    def root(self) -> Path:
        """Its root folder as this machine sees it, power or not; without its /run and mounts."""
        return self.folder / "root"

    @property
    def journal(self) -> Path:
        """The folder with its journal files, as this machine sees it."""
        return self.root / "var/log/journal"

    @property
    def console(self) -> Path:
        """What systemd has said while it booted."""
        return self.folder / "console.log"

    @property
    def cgroup(self) -> Path:
        """Where all its processes are."""
        return CGROUPS / self.plan.machine(self.number)

    # Power -----------------------------------------------------------------------------------

    def make(self) -> None:
        """Make its disk: a fresh root. Raises LabError."""
        hidden = (*HIDDEN_FOLDERS, str(self.checkout).lstrip("/"), "root", "tmp")
        files = host_files(self.plan, self.number, uuid.uuid4().hex)
        make_root(self.folder, files, host_links(), hidden)
        (self.root / "root").chmod(0o700)

    def boot(self) -> None:
        """Switch it on; returns at once, not when it is up. Raises LabError when it has power."""
        if self.leader is not None:
            raise LabError(f"{self.name} has power already")
        self.before_boot()
        self.cgroup.mkdir(exist_ok=True)
        program = 'echo $$ >"$0/cgroup.procs" && exec "$@"'
        words = ["sh", "-c", program, str(self.cgroup), *self._container()]
        with self.console.open("ab") as log:
            self._container_process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                pass_fds=self.held,
                start_new_session=True,
            )

    def _container(self) -> list[str]:
        machine = self.plan.machine(self.number)
        return [
            *("systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}"),
            *(f"--machine={machine}", f"--hostname={self.name}", "--keep-unit"),
            *("--register=no", "--link-journal=no", "--resolv-conf=off", "--timezone=off"),
            *(f"--network-bridge={self.plan.bridge}", "--console=read-only"),
            "--bind=/dev/net/tun",
            *(f"--bind={here}:{there}" for there, here in self.binds.items()),
        ]

    def wait_up(self, deadline_seconds: float = BOOT_DEADLINE_SECONDS) -> None:
        """Wait until systemd there has started all that is enabled. Raises LabError."""

        def is_up() -> bool:
            return self.leader is not None and self.unit("multi-user.target").active == "active"

        def told() -> str:
            return self.console.read_text(errors="replace")[-1500:]

        try:
            wait_until(is_up, deadline_seconds, f"{self.name} is not up")
        except LabError as error:
            raise LabError(f"{error}; its console:\n{told()}") from None

    @property
    def leader(self) -> Optional[int]:
        """The pid of its PID 1, as this machine has it; None while it has no power."""
        for pid in self._supervisors():
            try:
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            except OSError:
                continue
            for child in map(int, children):
                if _inner_pid(child) == 1:
                    return child
        return None

    def _supervisors(self) -> list[int]:
        found = []
        for procs in (self.cgroup / "cgroup.procs", self.cgroup / "supervisor/cgroup.procs"):
            try:
                found += [int(pid) for pid in procs.read_text().split()]
            except OSError:
                continue
        return found

    def power_cut(self) -> None:
        """End everything on it at once, QEMU too, as if it lost its power; returns when it is
        gone. Raises LabError where something of it does not end."""
        self._end(lambda: kill_all(self.cgroup), self.on_power_cut)

    def shut_down(self) -> None:
        """Switch it off in order, as `systemctl poweroff` does. Raises LabError."""
        leader = self.leader
        if leader is not None:
            # What systemd takes for "power off" from a container's manager.
            self._end(lambda: os.kill(leader, signal.SIGRTMIN + 4), lambda: None)
        self.on_power_cut()

    def _end(self, deed: Callable[[], None], then: Callable[[], None]) -> None:
        pids = [pid for pid in (self.leader, *self._supervisors()) if pid is not None]
        descriptors = []
        try:
            for pid in pids:
                try:
                    descriptors.append(os.pidfd_open(pid))
                except ProcessLookupError:
                    continue
            deed()
            then()
            for descriptor in descriptors:
                if not wait_gone(descriptor, END_DEADLINE_SECONDS):
                    raise LabError(f"{self.name} does not end: a process hangs in the kernel")
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        if self._container_process is not None:
            self._container_process.wait(END_DEADLINE_SECONDS)
            self._container_process = None
        # The kernel takes a network namespace apart a little after its last process; a container
        # that boots meanwhile would find its cable's name taken.
        cable = Path("/sys/class/net", self.plan.cable(self.number))
        wait_until(
            lambda: not cable.exists(), END_DEADLINE_SECONDS, f"{cable.name} is still there"
        )

    def freeze(self) -> None:
        """Stop everything on it where it is, as a machine that is suspended."""
        freeze(self.cgroup, True)

    def thaw(self) -> None:
        """Let it go on."""
        freeze(self.cgroup, False)

    def remove(self) -> None:
        """Leave nothing of it but its folder."""
        self.thaw()
        self.power_cut()
        take_root(self.folder)
        remove_cgroup(self.cgroup)

    # Inside ----------------------------------------------------------------------------------

    def run(
        self, *arguments: str, deadline_seconds: float = 60.0, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a program there as its root does, and return how it ended, whatever that is; `text`
        is its input. Raises LabError at the deadline, and while the host has no power."""
        return call(self._inside(arguments), deadline_seconds=deadline_seconds, text=text)

    def must(self, *arguments: str, deadline_seconds: float = 60.0, text: str = "") -> str:
        """The same for one that has to succeed; returns what it printed. Raises LabError."""
        return must(self._inside(arguments), deadline_seconds=deadline_seconds, text=text)

    def _inside(self, arguments: Sequence[str]) -> list[str]:
        leader = self._powered()
        terminal = os.environ.get("TERM", "dumb")
        environment = ["env", "-i", f"PATH={_PATH}", "HOME=/root", "LANG=C.UTF-8"]
        environment.append(f"TERM={terminal}")
        enter = ["nsenter", f"--target={leader}", "--all", "--root", "--wd"]
        return [*enter, "--", *environment, *arguments]

    def enter(self, *arguments: str) -> None:
        """Become a program there, on this terminal. Raises LabError while it has no power."""
        words = self._inside(arguments)
        os.execvp(words[0], words)

    def _powered(self) -> int:
        leader = self.leader
        if leader is None:
            raise LabError(f"{self.name} has no power")
        return leader

    def file_there(self, name: str) -> Path:
        """Return a file of it as this machine reaches it, in its /run and mounts, too. Raises
        LabError while it has no power."""
        return Path(f"/proc/{self._powered()}/root") / name

    def has_process(self, pid: int) -> bool:
        """Whether a process, by its pid on this machine, is one of this host."""
        leader = self.leader
        if leader is None:
            return False
        try:
            return os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{leader}/ns/pid")
        except OSError:
            return False

    def unit(self, name: str) -> Unit:
        """Return the state of a unit. Raises LabError."""
        names = "Id,ActiveState,SubState,MainPID,NRestarts,StatusText"
        ended = self.run("systemctl", "show", f"--property={names}", "--", name)
        return parse_unit(name, ended.stdout)

    def journal_text(self, since_unix_seconds: float = 0.0, *arguments: str) -> str:
        """Return its journal from a moment on, also while it has no power; `arguments` are more
        of journalctl's, such as "--unit=ha-agent.service"."""
        since = f"--since=@{since_unix_seconds:.0f}"
        words = ["journalctl", f"--directory={self.journal}", "--no-pager", since, *arguments]
        return call(words).stdout

    # Its clock -------------------------------------------------------------------------------

    def fake_clock(self, units: Sequence[str]) -> None:
        """Restart these units so that `jump_clock` reaches them; host_clock.py says how."""
        host_clock.fake(self, units)

    def jump_clock(self, offset_seconds: float) -> None:
        """Set the calendar clock of those units this far from the real one, at once."""
        host_clock.jump(self, offset_seconds)

    def real_clock(self, units: Sequence[str]) -> None:
        """Give these units this machine's clock again; restarts them. Raises LabError."""
        host_clock.real(self, units)


def parse_unit(name: str, text: str) -> Unit:
    """Return a unit from what `systemctl show` prints; "unknown" for what it does not say."""
    pairs = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def number(key: str) -> int:
        value = pairs.get(key, "")
        return int(value) if value.isdigit() else 0

    return Unit(
        name,
        pairs.get("ActiveState", "unknown"),
        pairs.get("SubState", "unknown"),
        number("MainPID"),
        number("NRestarts"),
        pairs.get("StatusText", ""),
    )


def _inner_pid(pid: int) -> int:
    """Return a process's pid in the innermost pid namespace that it is in; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return inner_pid(status)


def inner_pid(status: str) -> int:
    """Return the last number of NSpid, of a /proc/PID/status; 0 for a process in ours."""
    for line in status.splitlines():
        if line.startswith("NSpid:"):
            numbers = line.split()[1:]
            return int(numbers[-1]) if len(numbers) > 1 else 0
    return 0
