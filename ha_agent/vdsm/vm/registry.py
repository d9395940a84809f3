# SPDX-License-Identifier: Apache-2.0
"""The VMs of this host as files, so that a restart of the embedded VDSM finds them again.

    <run_dir>/<vm uuid>/vm.json       the record, replaced as a whole
    <run_dir>/<vm uuid>/domain.xml    the definition, written once, for when the record is damaged
    <run_dir>/<vm uuid>/...           the VM's sockets and logs (arguments.py, process.py)

A record names QEMU's process by pid and by its start time in clock ticks since boot, field 22
of /proc/<pid>/stat, so that another process which got the same pid is never taken for it. The
record is written before QEMU is spawned, without a pid; when we die just then, the process is
found by its command line, in which the VM's run directory stands. So is one whose record is
damaged or gone: while its QEMU runs a VM stays known (`rebuild`).

<run_dir> is /run/ha-agent-vdsm, on a file system that a reboot empties: pids mean nothing after.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional
from xml.sax.saxutils import escape

from ha_agent.atomic_file import replace_file
from ha_agent.errors import BadInput

RECORD = "vm.json"
DEFINITION = "domain.xml"
MAX_RECORD_BYTES = 4 * 1024 * 1024
_STATUSES = ("WaitForLaunch", "Up", "Down")
_LOGS_KEPT = {"qemu.log", "console.log"}


@dataclass(frozen=True)
class VmRecord:
    """What is kept of one VM. `exit_*` are set once it is down, `pid` once QEMU was spawned."""

    uuid: str
    name: str
    xml: str
    status: str
    pid: Optional[int] = None
    start_ticks: Optional[int] = None
    exit_code: Optional[int] = None
    exit_reason: Optional[int] = None
    exit_message: str = ""
    is_lease_held: bool = False
    is_shutdown_asked: bool = False
    started_at_seconds: float = 0.0


def run_folder(run_dir: Path) -> Path:
    """Return the embedded VDSM's run directory for the daemons' one, [host] run_dir.

    It is beside it and not in it: that one is not root's, and root trusts what it finds here.
    """
    return run_dir.with_name(f"{run_dir.name}-vdsm")


def vm_dir(run_dir: Path, uuid: str) -> Path:
    """Return the VM's run directory."""
    return run_dir / uuid


def save(run_dir: Path, record: VmRecord) -> None:
    """Write the record; a reader finds the old or the new one, whole."""
    directory = vm_dir(run_dir, record.uuid)
    directory.mkdir(mode=0o700, exist_ok=True)
    content = json.dumps(dataclasses.asdict(record)).encode()
    # Not synced: no VM outlives the machine.
    replace_file(directory / RECORD, content, mode=0o600, sync=False)


def save_definition(run_dir: Path, uuid: str, xml: str) -> None:
    """Keep a VM's definition beside its record. Raises OSError."""
    replace_file(
        vm_dir(run_dir, uuid) / DEFINITION,
        xml.encode("utf-8", "surrogatepass"),
        mode=0o600,
        sync=False,
    )


def forget(run_dir: Path, uuid: str) -> None:
    """Remove the VM's record, sockets and pid file. Its logs stay for whoever asks why."""
    directory = vm_dir(run_dir, uuid)
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    # The record goes first: without it the rest is only litter.
    for name in sorted(names, key=lambda name: name != RECORD):
        if name not in _LOGS_KEPT:
            (directory / name).unlink(missing_ok=True)


def load_all(run_dir: Path) -> tuple[list[VmRecord], dict[str, BadInput]]:
    """Read all records, and the faults of those that can't be used, by the folder's name."""
    records: list[VmRecord] = []
    faults: dict[str, BadInput] = {}
    for path in sorted(run_dir.glob(f"*/{RECORD}")):
        try:
            records.append(_load(path))
        except BadInput as fault:
            faults[path.parent.name] = fault
    return records, faults


def _load(path: Path) -> VmRecord:
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(MAX_RECORD_BYTES))
    except (OSError, ValueError) as error:
        raise BadInput(f"can't be read: {error}", where=str(path)) from error
    if not isinstance(value, dict):
        raise BadInput("is no JSON object", where=str(path))
    record = _record(value, path)
    if record.uuid != path.parent.name:
        raise BadInput(f"is about VM {record.uuid[:60]!r}", where=str(path))
    return record


_TYPES: Mapping[str, tuple[type, ...]] = {
    "uuid": (str,),
    "name": (str,),
    "xml": (str,),
    "status": (str,),
    "pid": (int, type(None)),
    "start_ticks": (int, type(None)),
    "exit_code": (int, type(None)),
    "exit_reason": (int, type(None)),
    "exit_message": (str,),
    "is_lease_held": (bool,),
    "is_shutdown_asked": (bool,),
    "started_at_seconds": (float, int),
}


def _record(value: dict[str, Any], path: Path) -> VmRecord:
    for name, types in _TYPES.items():
        if not isinstance(value.get(name), types):
            raise BadInput(f"{name} is missing or of a wrong type", where=str(path))
    if value["status"] not in _STATUSES:
        raise BadInput(f"status {value['status'][:40]!r} is unknown", where=str(path))
    known = {name: value[name] for name in _TYPES}
    return VmRecord(**known)


def start_ticks(pid: int) -> Optional[int]:
    """Return when the process started, in clock ticks since boot; None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The command's name, in parentheses, may itself have blanks and parentheses.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        return None
    return int(fields[19])


def running_qemus(run_dir: Path) -> dict[str, int]:
    """Return the pid of each QEMU that runs a VM of this run directory, by the VM's UUID."""
    found: dict[str, int] = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        arguments = _arguments(int(name))
        uuid = _after("-uuid", arguments)
        if uuid and _after("-pidfile", arguments) == str(vm_dir(run_dir, uuid) / "qemu.pid"):
            found[uuid] = int(name)
    return found


def rebuild(
    run_dir: Path, uuid: str, pid: Optional[int], *, with_definition: bool = True
) -> VmRecord:
    """Return a record of a VM whose own can't be used, from its definition and its QEMU.

    What nobody knows any more is assumed so that nothing unsafe follows: a VM lease that is not
    known to be held is taken before the VM is let run.
    """
    ticks = start_ticks(pid) if pid is not None else None
    arguments = _arguments(pid) if pid is not None else []
    options = _after("-name", arguments).replace(",,", "\0").split(",")
    named = next((option for option in options if option.startswith("guest=")), "")
    name = named[len("guest=") :].replace("\0", ",") or uuid
    xml = ""
    if with_definition:
        with contextlib.suppress(OSError, ValueError):
            xml = (vm_dir(run_dir, uuid) / DEFINITION).read_text()
    return VmRecord(
        uuid=uuid,
        name=name,
        xml=xml or _least_definition(uuid, name),
        status="WaitForLaunch",
        pid=pid,
        start_ticks=ticks,
        started_at_seconds=(ticks or 0) / os.sysconf("SC_CLK_TCK"),
    )


def _least_definition(uuid: str, name: str) -> str:
    """Return a definition that says no more of a VM than what it is called.

    Its leases are not known, which is not the same as none: the one here can't be found, so a
    VM that is paused and not known to hold its lease can be destroyed, but not let run.
    """
    return (
        f"<domain type='kvm'><name>{escape(name)}</name><uuid>{uuid}</uuid><memory>1024</memory>"
        "<vcpu>1</vcpu><os><type>hvm</type></os><devices><lease><key>unknown</key>"
        "<lockspace>unknown</lockspace><target path='LEASE-PATH:' offset='LEASE-OFFSET:'/>"
        "</lease></devices></domain>"
    )


def _arguments(pid: int) -> list[str]:
    """Return a process's command line; empty when it is gone, or another user's."""
    try:
        if os.stat(f"/proc/{pid}").st_uid != os.geteuid():
            return []
        data = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [os.fsdecode(argument) for argument in data.split(b"\0")]


def _after(option: str, arguments: list[str]) -> str:
    """Return what follows an option, "" when it is not there."""
    if option not in arguments[:-1]:
        return ""
    return arguments[arguments.index(option) + 1]


def prepare_dir(run_dir: Path, uuid: str) -> Path:
    """Make the VM's empty run directory for a new start, with the last start's logs as *.1."""
    directory = vm_dir(run_dir, uuid)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in os.listdir(directory):
        path = directory / name
        if name in _LOGS_KEPT:
            os.replace(path, directory / f"{name}.1")
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif not name.endswith(".log.1"):
            path.unlink(missing_ok=True)
    return directory
