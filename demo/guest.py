# SPDX-License-Identifier: Apache-2.0
"""Builds the demo's guest disk: a small real Linux that looks like an engine VM from outside.

The disk is one FAT file system without partitions, made bootable by syslinux: Debian's own
cloud kernel, and an initramfs of busybox and of the scripts in guest_root/. Under QEMU,
on the machines pc and q35, with the disk and the network card on virtio, the guest

- answers GET /ovirt-engine/services/health on port 80 as a sound engine does; GET
  /cgi-bin/health?hang, ?down and ?up change that until the next boot;
- counts its boots and the seconds that it ran in two files on its own disk, written
  through at once, and shows them at /cgi-bin/counters;
- powers off when the ACPI power button is pressed (QMP's system_powerdown);
- tells on the first serial port what it does.

It needs no KVM, no root, and 192 MiB of memory. Building takes seconds, once: the disk is
kept in the work folder under a hash of all that goes into it. Nothing is installed into
this host: the kernel's package is fetched and unpacked in the work folder only.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import lzma
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from demo import initramfs
from ha_agent.errors import BadInput, DeadlineExceeded, EnvironmentFault

HEALTH_PATH = "/ovirt-engine/services/health"
HEALTH_BODY = "DB Up!Welcome to Health Status!"
HTTP_PORT = 80
MEMORY_MIB = 192
DISK_SIZE_BYTES = 32 * 1024 * 1024
# Where QEMU's user-mode network expects its guest, and forwards ports to.
USER_NET_ADDRESS = "10.0.2.15/24"

ROOT = Path(__file__).parent / "guest_root"
# Disk, network, the power button and its events, FAT and the character sets it asks for.
MODULES = (
    *("virtio_pci", "virtio_blk", "virtio_net"),
    *("button", "evdev"),
    *("vfat", "nls_cp437", "nls_ascii", "nls_utf8"),
)
APPLETS = (
    *("sh", "cat", "dd", "grep", "head", "httpd", "insmod", "ip", "mkfifo", "mount"),
    *("poweroff", "printf", "rm", "sleep", "sync", "udhcpc"),
)
COUNTER_START = b"0000000000\n"
KERNEL_META_PACKAGE = "linux-image-cloud-amd64"

# What goes into the guest is small; these are generous, for a busy or a slow machine.
TOOL_DEADLINE_SECONDS = 60.0
DOWNLOAD_DEADLINE_SECONDS = 600.0


@dataclass(frozen=True)
class GuestImage:
    """A guest disk, ready to boot."""

    path: Path
    size_bytes: int
    content_hash: str
    kernel_release: str


@dataclass(frozen=True)
class Counters:
    """What the guest has written on its disk: boots, and seconds run over all boots."""

    boots: int
    heartbeat: int


def build_guest(
    work_dir: Path,
    *,
    image: Path,
    progress: Callable[[str], None],
    address: str = USER_NET_ADDRESS,
) -> GuestImage:
    """Write a fresh guest disk to `image`, replacing what is there.

    `work_dir` keeps the kernel's package and the finished disks for later runs; of several at
    once in one folder, one fetches and builds, the others wait for it. `address` is the guest's
    IPv4 address with its prefix length, or "dhcp". `progress` gets a line before each step that
    takes longer than a moment.

    Raises BadInput for another address, EnvironmentFault that names the tool and the
    package that has it, and DeadlineExceeded. A new disk counts from zero boots.
    """
    if not re.fullmatch(r"dhcp|[0-9.]+/[0-9]+", address):
        raise BadInput(f"guest address {address!r} is neither 1.2.3.4/24 nor dhcp")
    work_dir.mkdir(parents=True, exist_ok=True)
    busybox = _find_busybox()
    with _alone(work_dir, progress):
        package = _kernel_package(work_dir, progress)
        content_hash = _content_hash(package, busybox, address)
        kept = work_dir / f"guest-{content_hash}.img"
        if not kept.exists():
            progress(f"building the guest's disk from {package.stem} and busybox")
            unfinished = kept.with_suffix(".unfinished")
            try:
                _make_disk(unfinished, package, busybox, address)
                os.replace(unfinished, kept)
            finally:
                unfinished.unlink(missing_ok=True)
    shutil.copyfile(kept, image)
    return GuestImage(image, DISK_SIZE_BYTES, content_hash, _kernel_release(package))


def read_counters(image: Path) -> Counters:
    """Read the guest's counters from its disk, without the guest's help.

    Raises BadInput where they are not there, or not numbers.
    """
    text = {}
    for name in ("boots", "heartbeat"):
        text[name] = _run(["mtype", "-i", str(image), f"::{name}"], package="mtools").decode()
        if not re.fullmatch(r"[0-9]{10}\n", text[name]):
            raise BadInput(
                f"counter {name!r} is not a number: {text[name][:20]!r}", where=str(image)
            )
    return Counters(boots=int(text["boots"]), heartbeat=int(text["heartbeat"]))


@contextlib.contextmanager
def _alone(work_dir: Path, progress: Callable[[str], None]) -> Iterator[None]:
    """Have the folder to oneself. Who has it now is done in time: all that it runs has a deadline,
    and the kernel frees the lock of one that was killed."""
    with (work_dir / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another that fetches or builds the guest")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(
    command: Sequence[str],
    *,
    package: str,
    deadline_seconds: float = TOOL_DEADLINE_SECONDS,
    cwd: Optional[Path] = None,
) -> bytes:
    """Run a tool of a Debian package and return its output."""
    # mtools doubts FAT images that it would make otherwise itself; sbin is not on users' paths.
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    environment = {**os.environ, "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C", "PATH": path}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=cwd,
            env=environment,
            timeout=deadline_seconds,
            check=False,
        )
    except FileNotFoundError as error:
        raise EnvironmentFault(
            f"{command[0]} is not installed; get it with: apt-get install {package}"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise DeadlineExceeded(" ".join(command), deadline_seconds) from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise EnvironmentFault(
            f"{command[0]} (Debian package {package}) failed with exit code "
            f"{done.returncode}: {said[-500:] or 'it said nothing'}"
        )
    return done.stdout


# --- what goes in -----------------------------------------------------------------------


def _find_busybox() -> Path:
    """Return this host's busybox, after a look that it can stand alone in an initramfs."""
    advice = "get it with: apt-get install busybox-static"
    found = shutil.which("busybox")
    if found is None:
        raise EnvironmentFault(f"busybox is not installed; {advice}")
    if not _is_static_x86_64(Path(found).read_bytes()):
        raise EnvironmentFault(f"{found} is not a static x86-64 program; {advice}")
    have = set(_run([found, "--list"], package="busybox-static").decode().split())
    missing = sorted(set(APPLETS) - have)
    if missing:
        raise EnvironmentFault(f"{found} lacks {', '.join(missing)}; {advice}")
    return Path(found)


def _is_static_x86_64(program: bytes) -> bool:
    """Say if an ELF program is for x86-64 and names no loader (no PT_INTERP segment)."""
    machine_x86_64, segment_interp = 62, 3
    if len(program) < 64 or program[:5] != b"\x7fELF\x02":
        return False
    (machine,) = struct.unpack_from("<H", program, 18)
    (table,) = struct.unpack_from("<Q", program, 32)
    entry_size, entries = struct.unpack_from("<HH", program, 54)
    kinds = [struct.unpack_from("<I", program, table + n * entry_size)[0] for n in range(entries)]
    return bool(machine == machine_x86_64 and segment_interp not in kinds)


def _kernel_package(work_dir: Path, progress: Callable[[str], None]) -> Path:
    """Return the cloud kernel's .deb: the one kept in the work folder, or a fetched one."""
    kept = sorted(work_dir.glob("linux-image-*-cloud-amd64_*.deb"))
    if kept:
        return kept[-1]
    try:
        depends = _run(["apt-cache", "depends", KERNEL_META_PACKAGE], package="apt").decode()
        found = re.search(r"Depends: (linux-image-\S+-cloud-amd64)$", depends, re.MULTILINE)
        if found is None:
            raise EnvironmentFault(f"{KERNEL_META_PACKAGE} depends on no kernel package")
        progress(f"fetching {found.group(1)} (27 MB) from Debian, to unpack it here only")
        fetching = work_dir / "fetching"
        shutil.rmtree(fetching, ignore_errors=True)
        fetching.mkdir()
        _run(
            ["apt-get", "download", "-q", found.group(1)],
            package="apt",
            deadline_seconds=DOWNLOAD_DEADLINE_SECONDS,
            cwd=fetching,
        )
        (fetched,) = fetching.glob("*.deb")
        package = work_dir / fetched.name
        os.replace(fetched, package)
        fetching.rmdir()
    except EnvironmentFault as error:
        raise EnvironmentFault(
            f"no kernel for the guest: {error}\nRun `apt-get update` as root and try again; "
            f"or put the package that {KERNEL_META_PACKAGE} depends on "
            f"(linux-image-...-cloud-amd64_..._amd64.deb) into {work_dir}"
        ) from error
    return package


def _kernel_release(package: Path) -> str:
    """Return what uname -r will say, which is in the package's name."""
    return package.name.split("_")[0][len("linux-image-") :]


def _content_hash(package: Path, busybox: Path, address: str) -> str:
    """Return a hash of all that the disk is made of, to tell when a kept one still serves."""
    content = hashlib.sha256(f"{address} {DISK_SIZE_BYTES}".encode())
    sources = [Path(__file__), Path(initramfs.__file__), *_root_files()]
    for path in [package, busybox, *sources]:
        content.update(path.name.encode() + b"\0" + path.read_bytes())
    return content.hexdigest()[:16]


def _root_files() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*") if path.is_file())


# --- putting it together ------------------------------------------------------------------


def _make_disk(disk: Path, package: Path, busybox: Path, address: str) -> None:
    unpacked = disk.with_suffix(".unpacked")
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir()
    try:
        _run(["dpkg-deb", "-x", str(package), str(unpacked)], package="dpkg")
        release = _kernel_release(package)
        boot = unpacked / "boot"
        (boot / "initramfs").write_bytes(_initramfs(unpacked, release, busybox))
        (boot / "syslinux.cfg").write_text(_syslinux_config(address))
        for name in ("boots", "heartbeat"):
            (boot / name).write_bytes(COUNTER_START)
        _run(_format_command(disk), package="mtools")
        _run(["syslinux", "--install", str(disk)], package="syslinux")
        for source, name in (
            *(("boots", "boots"), ("heartbeat", "heartbeat")),
            *(("syslinux.cfg", "syslinux.cfg"), ("initramfs", "initramfs")),
            (f"vmlinuz-{release}", "vmlinuz"),
        ):
            _run(["mcopy", "-i", str(disk), str(boot / source), f"::{name}"], package="mtools")
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _format_command(disk: Path) -> list[str]:
    """Return the command that makes an empty FAT16 disk; 64 heads of 32 sectors fit its size."""
    # More than 4084 clusters, or else mformat makes it a FAT12, which syslinux doubts.
    sectors, cluster_sectors = DISK_SIZE_BYTES // 512, 8
    return [
        *("mformat", "-i", str(disk), "-C", "-T", str(sectors), "-h", "64", "-s", "32"),
        *("-c", str(cluster_sectors), "-N", "0e16e000", "-v", "ENGINE", "::"),
    ]


def _syslinux_config(address: str) -> str:
    return (
        "default engine\n"
        "prompt 0\n"
        "label engine\n"
        "  kernel vmlinuz\n"
        "  initrd initramfs\n"
        # Each of the first three saves an emulated CPU a quarter of a second: no kernel
        # lines on the serial port, no relocation at random, no self-tests of ciphers. The timer's
        # check fails where the machine is busy and gives the emulated CPU no turn for a moment;
        # the kernel then goes on to other timers, and may never boot.
        "  append console=ttyS0 quiet nokaslr cryptomgr.notests mitigations=off panic=1"
        f" no_timer_check guest.disk=vda guest.address={address}\n"
    )


def _initramfs(unpacked: Path, release: str, busybox: Path) -> bytes:
    return initramfs.pack(_initramfs_members(unpacked, release, busybox))


def _initramfs_members(unpacked: Path, release: str, busybox: Path) -> Iterator[initramfs.Member]:
    folders = ("bin", "dev", "disk", "modules", "proc", "sys", "www", "www/cgi-bin")
    yield from map(initramfs.folder, folders)
    yield from map(initramfs.folder, ("www/ovirt-engine", "www/ovirt-engine/services"))
    yield initramfs.program("bin/busybox", busybox.read_bytes())
    yield from (initramfs.link(f"bin/{applet}", "busybox") for applet in APPLETS)
    for path in _root_files():
        yield initramfs.program(str(path.relative_to(ROOT)), path.read_bytes())
    modules = _Modules(unpacked / "lib" / "modules" / release)
    order = initramfs.load_order(MODULES, modules.read)
    for name in order:
        yield initramfs.program(f"modules/{name}.ko", modules.read(name) or b"")
    yield initramfs.program("modules/order", "".join(f"{name}\n" for name in order).encode())


class _Modules:
    """The kernel's loadable modules by name, with "_" for "-" as the kernel has them."""

    def __init__(self, tree: Path) -> None:
        # Debian 12 has .ko files, Debian 13 has .ko.xz.
        found = (path for path in tree.rglob("*.ko*") if path.suffix in (".ko", ".xz"))
        self._paths = {path.name.split(".ko")[0].replace("-", "_"): path for path in found}

    def read(self, name: str) -> Optional[bytes]:
        """Return a module as the kernel loads it, or None where it is not a loadable one."""
        path = self._paths.get(name)
        if path is None:
            return None
        content = path.read_bytes()
        return lzma.decompress(content) if path.suffix == ".xz" else content
