# SPDX-License-Identifier: Apache-2.0
"""What the storage worker asks of the sanlock daemon, and what it reads beside it.

These functions run in a storage worker process (storage/worker.py). The daemon answers from
memory about hosts, lockspaces and what a process holds; acquire, release and reading wait for
storage, for as long as it hangs. They decide nothing. Names are text here, bytes for the binding.

The binding (package python3-sanlock) is imported at the first call: hosts with another back end
don't have it. It finds the daemon by SANLOCK_RUN_DIR in the broker's environment, or at its usual
place. A pid is the holder's (sanlock/holder.py), which has registered itself.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import mmap
import os
import stat
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from types import ModuleType
from typing import Any, Callable, Optional

from ha_agent.broker.sanlock import lockspace_codec
from ha_agent.broker.sanlock import place as sanlock_place
from ha_agent.broker.storage import directio
from ha_agent.errors import BadInput, EnvironmentFault

_BLKSSZGET = 0x1268
_STATUS_SECONDS = 2.0
# sanlock's own results, from sanlock_rv.h: below -200, positive or negative by version.
_HELD_BY_ANOTHER = {243, 244, 245, 246, 247}
_EPOCH_DIFFERS = {240}
_WORDS = {
    202: "storage did not answer in time",
    210: "a host's block can't be read",
    211: "a host's block can't be written",
    220: "its record can't be read",
    221: "its record can't be written",
    223: "there is no lockspace there",
    226: "the lockspace on storage has another name",
    229: "its record has a wrong checksum",
    240: "its epoch is another one by now",
    241: "its record is of another lockspace",
    250: "its record has another epoch than this host's daemon released",
    251: "its record names another owner, or none",
    262: "host id is in use by another host",
    263: "host id is in use by another host",
}


def binding() -> ModuleType:
    """Return sanlock's Python module. Raises EnvironmentFault that names its package."""
    try:
        import sanlock
    except ImportError as error:
        raise EnvironmentFault(
            "the lease back end sanlock needs sanlock's Python binding for this Python: install"
            f" the package python3-sanlock ({error})"
        ) from error
    return sanlock  # type: ignore[no-any-return]


def sanlock_look(
    lockspace: str, host_id: int, path: str, resource: str, holder_pid: int, read: bool
) -> dict[str, Any]:
    """Tell how things stand; with `read` also the resource's leader record, from storage.

    Returns {"joined": True, False or None while it is being joined or left, "hosts": [{"host_id",
    "generation", "timestamp", "io_timeout", "flags": one of LIVE, FAIL, DEAD, FREE, UNKNOWN}],
    empty while the daemon does not know yet, "held": the lver that `holder_pid` holds or None,
    "leader": what place.decode_leader takes, or None}. Raises OSError where storage fails,
    EnvironmentFault.
    """
    sanlock = binding()
    joined = _joined(sanlock, lockspace, host_id, path)
    hosts = _hosts(sanlock, lockspace) if joined else []
    held = _held(sanlock, lockspace, resource, holder_pid) if holder_pid else None
    leader = None
    if read:
        with directio.open_file(path) as file:
            leader = read_record(file, sanlock_place.RESOURCE_OFFSET)
    return {"joined": joined, "hosts": hosts, "held": held, "leader": leader}


def read_record(file: directio.DirectFile, offset: int) -> bytes:
    """Read what place.decode_leader takes of the resource at `offset`. Raises OSError.

    The two reads are not one: an owner that changes in between makes it a picture that the next
    look corrects.
    """
    record = file.read(offset, sanlock_place.LEADER_BYTES)
    at = sanlock_place.owner_block_offset(record)
    if at is None:
        return record
    return record + file.read(offset + at, sanlock_place.OWNER_BLOCK_BYTES)


def sanlock_join(lockspace: str, host_id: int, path: str, io_timeout_seconds: int) -> None:
    """Have the daemon begin to join the lockspace with our host id; `sanlock_look` tells when.

    It takes some I/O timeouts, and host-dead seconds after this host died with the id in use.
    Asking again is cheap. Raises BadInput for a place that has no lockspace or a host id that
    does not fit it, OSError, EnvironmentFault.
    """
    sanlock = binding()
    with directio.open_file(path) as file:
        data = file.read(sanlock_place.LOCKSPACE_OFFSET, lockspace_codec.LOCKSPACE_BYTES)
    sector_bytes = lockspace_codec.sector_bytes_to_join(data, lockspace, path)
    fault = sanlock_place.host_id_fault(host_id, sector_bytes)
    if fault:
        raise BadInput(fault, where=path)
    with faults(sanlock, {errno.EEXIST, errno.EINPROGRESS}):
        sanlock.add_lockspace(
            lockspace.encode(), host_id, path, iotimeout=io_timeout_seconds, wait=False
        )


def sanlock_acquire(
    lockspace: str, path: str, resource: str, holder_pid: int, epoch: int
) -> dict[str, Any]:
    """Acquire the resource for the holder if its lver on storage is `epoch` (0: never had).

    Returns {"refused": why another has it, or "" when it is acquired}. May wait as long as the
    daemon needs to know that its owner is dead. Raises EnvironmentFault.
    """
    sanlock = binding()
    disks = [(path, sanlock_place.RESOURCE_OFFSET)]
    # Each acquire raises lver; the version that it is given is the one that it must find.
    version = {"version": epoch} if epoch else {}
    try:
        sanlock.acquire(lockspace.encode(), resource.encode(), disks, pid=holder_pid, **version)
    except sanlock.SanlockException as error:
        number = abs(error.errno)
        if number in _HELD_BY_ANOTHER:
            return {"refused": f"another host has it (sanlock error {number})"}
        if number in _EPOCH_DIFFERS:
            return {"refused": f"it was taken since: its epoch is no longer {epoch}"}
        if number != errno.EEXIST:  # this holder has it already
            raise _fault(error, f"{resource} in {path}") from error
    return {"refused": ""}


def sanlock_release(lockspace: str, path: str, resource: str, holder_pid: int) -> None:
    """Release the resource; a holder that has none, or is gone, has released it."""
    sanlock = binding()
    if _held(sanlock, lockspace, resource, holder_pid) is None:
        return  # the daemon would say "not permitted", as for anything that it does not like
    disks = [(path, sanlock_place.RESOURCE_OFFSET)]
    with faults(sanlock, {errno.ESRCH}, f"{resource} in {path}"):
        sanlock.release(lockspace.encode(), resource.encode(), disks, pid=holder_pid)


def sanlock_clear(
    lockspace: str, path: str, resource: str, epoch: int, qemu_marker: str
) -> dict[str, Any]:
    """Free a record that names this host though nothing here has the lease (sanlock/clear.py).

    Returns {"refused": why it was not freed, or ""}.
    """
    command = [sys.executable, "-I", "-m", "ha_agent.broker.sanlock.clear"]
    command += ["--lockspace", lockspace, "--path", path, "--resource", resource]
    command += ["--epoch", str(epoch), "--qemu-marker", qemu_marker]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    if done.returncode == 0:
        return {"refused": ""}
    said = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    return {"refused": said or f"it ended with status {done.returncode}"}


def sanlock_watchdog() -> Optional[int]:
    """Return the watchdog's time that the daemon counts with, None where it does not tell.

    sanlock has it in sanlock.conf since 4.0 and shows it with its status then.
    """
    command = ["sanlock", "client", "status", "-D"]
    try:
        told = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_STATUS_SECONDS
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    for line in told.stdout.decode("utf-8", "replace").splitlines():
        name, _, value = line.strip().partition("=")
        if name == "watchdog_fire_timeout" and value.isdigit():
            return int(value)
    return None


def sanlock_initialise(
    lockspace: str, path: str, resource: str, io_timeout_seconds: int
) -> dict[str, Any]:
    """Make lockspace and resource, once for the cluster, where there are only zeros.

    Returns {"done": bool, "sector_bytes": int, "leader": bytes of the resource as it is now}. A
    file is made when it is missing, and its folder, never that one's parent: a domain that is
    not mounted must not be mistaken for an empty one. A block device must have room for it.
    Raises OSError, BadInput, EnvironmentFault.
    """
    sanlock = binding()
    size = sanlock_place.PLACE_BYTES
    with contextlib.suppress(FileExistsError):
        os.mkdir(os.path.dirname(path), 0o770)
    made = _make_file(path, size)
    with directio.open_file(path) as file:
        sector_bytes = _sector_bytes(file)
        if file.size_bytes() < size and not file.is_regular():
            raise BadInput(f"{file.size_bytes()} bytes; the lease needs {size}", where=path)
        zeros = made or not any(file.read(0, size))
        at = sanlock_place.RESOURCE_OFFSET
        if not zeros:
            leader = read_record(file, at)
            return {"done": False, "sector_bytes": sector_bytes, "leader": leader}
    how = {"align": sanlock_place.ALIGN_BYTES, "sector": sector_bytes}
    with faults(sanlock):
        # The resource first: a lockspace is what others look for, and means that all is there.
        sanlock.write_resource(lockspace.encode(), resource.encode(), [(path, at)], **how)
        sanlock.write_lockspace(lockspace.encode(), path, iotimeout=io_timeout_seconds, **how)
    with directio.open_file(path) as file:
        leader = read_record(file, at)
    return {"done": True, "sector_bytes": sector_bytes, "leader": leader}


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "sanlock_look": sanlock_look,
    "sanlock_join": sanlock_join,
    "sanlock_acquire": sanlock_acquire,
    "sanlock_release": sanlock_release,
    "sanlock_clear": sanlock_clear,
    "sanlock_watchdog": sanlock_watchdog,
    "sanlock_initialise": sanlock_initialise,
}


@contextlib.contextmanager
def faults(sanlock: ModuleType, accepted: Collection[int] = (), where: str = "") -> Iterator[None]:
    """Raise sanlock's errors as EnvironmentFault, but for those that are accepted.

    `where` names the resource and its place in the message.
    """
    try:
        yield
    except sanlock.SanlockException as error:
        if abs(error.errno) not in accepted:
            raise _fault(error, where) from error


def _fault(error: Any, where: str = "") -> EnvironmentFault:
    number = abs(error.errno)
    if number in (errno.ENOENT, errno.ECONNREFUSED):
        return EnvironmentFault(
            "no sanlock daemon answers on this host: install the package sanlock and start"
            f" sanlock.service ({os.strerror(number)})"
        )
    if number == errno.EACCES:
        return EnvironmentFault(
            f"sanlock: {error.args[1]}: this user may not, or the daemon may not reach the lease's"
            " file: the daemons' user has to be in group sanlock, and user sanlock in group kvm"
            " (usermod -a -G sanlock vdsm; usermod -a -G kvm sanlock), and both be started again"
        )
    words = _WORDS.get(number) or (os.strerror(number) if number < 200 else "refused")
    what = f"{error.args[1]}: {where}" if where else error.args[1]
    return EnvironmentFault(f"sanlock: {what}: {words} (error {number})")


def _joined(sanlock: ModuleType, lockspace: str, host_id: int, path: str) -> Optional[bool]:
    # Not inq_lockspace: to it, a daemon that is not there is a lockspace that is not joined.
    with faults(sanlock):
        lockspaces = sanlock.get_lockspaces()
    for one in lockspaces:
        if one["lockspace"] == lockspace.encode():
            if one["host_id"] != host_id or one["path"] != path:
                raise EnvironmentFault(
                    f"this host's daemon has the lockspace {lockspace} already, with host id"
                    f" {one['host_id']} in {one['path']}; every host needs a daemon of its own"
                )
            return None if one["flags"] else True
    return False


def _hosts(sanlock: ModuleType, lockspace: str) -> list[dict[str, Any]]:
    names = {
        sanlock.HOST_FREE: "FREE",
        sanlock.HOST_LIVE: "LIVE",
        sanlock.HOST_FAIL: "FAIL",
        sanlock.HOST_DEAD: "DEAD",
    }
    hosts = []
    # EAGAIN: it has just joined and not yet looked at the others.
    with faults(sanlock, {errno.EAGAIN}):
        for host in sanlock.get_hosts(lockspace.encode()):
            hosts.append({**host, "flags": names.get(host["flags"], "UNKNOWN")})
    return hosts


def _held(sanlock: ModuleType, lockspace: str, resource: str, pid: int) -> Optional[int]:
    # ESRCH, ENOENT: not registered (any more), or with nothing.
    with faults(sanlock, {errno.ESRCH, errno.ENOENT}):
        for held in sanlock.inquire(pid=pid):
            if held["lockspace"] == lockspace.encode() and held["resource"] == resource.encode():
                return int(held["version"])
    return None


def _make_file(path: str, size_bytes: int) -> bool:
    """Create the file, filled with zeros; False when there is one."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        # Others of the domain's group (sanlock runs in it) share the file.
        fd = os.open(path, flags, 0o660)
    except FileExistsError:
        return False
    try:
        os.posix_fallocate(fd, 0, size_bytes)
        os.fsync(fd)
    finally:
        os.close(fd)
    return True


def sector_bytes_of(path: str) -> int:
    """Return the smallest sector that the storage of `path` takes. Raises OSError."""
    with directio.open_file(path) as file:
        return _sector_bytes(file)


def _sector_bytes(file: directio.DirectFile) -> int:
    """Return the smallest sector that storage takes: by asking a device, by trying a file."""
    if stat.S_ISBLK(os.fstat(file.fd).st_mode):
        told = array.array("i", [0])
        fcntl.ioctl(file.fd, _BLKSSZGET, told)
        return int(told[0])
    if not file.direct:
        return 512  # through the page cache any size goes, as for sanlock itself
    with mmap.mmap(-1, mmap.PAGESIZE) as memory, memoryview(memory)[:512] as sector:
        try:
            os.preadv(file.fd, [sector], 0)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return 4096
    return 512
