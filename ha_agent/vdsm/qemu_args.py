# SPDX-License-Identifier: Apache-2.0
"""QEMU's command line for a VM's definition. Pure: values in, a list of arguments out.

    files that QEMU makes or uses in the VM's run directory:
        qemu.pid  console.sock console.log  channel<N>.sock  vnc.sock  nvram.fd

Decisions, with reasons:
- QMP is a listening socket that the caller opens and QEMU inherits (`qmp_fd`), so that the caller
  can connect before QEMU is ready and never polls for a socket file.
- `locking=on` for every image: QEMU's own lock is then a second guard, independent of the VM
  lease. `auto` would drop it without a word where the storage can't lock. Disks marked
  shareable share it (`share-rw=on`).
- `cache=none` is direct I/O where the storage has it; the caller has tried and tells in
  `no_direct_io`. `io=native` needs direct I/O and falls back to threads with it.
- A machine type or CPU model that this QEMU lacks becomes its nearest generic one, with a note:
  engine hosts say pc-q35-rhel9.6.0, which only RHEL's QEMU knows.
- PCI addresses are kept, because guests name their network cards after them; devices with an
  address come before those without, so that QEMU can't give a taken slot away.
- VNC listens on a socket in the run directory, which is open to its owner only, and wants a
  password: the engine's has expired when it is written, so somebody sets one with a verb first.
- A VM that a reboot is to end is ended by QEMU itself, also while nobody watches it.

A device that the guest would miss (disk, network, TPM, host device) and that can't be given is an
UnsupportedDevice that names it. One that only costs comfort is left out and listed in `notes`.
"""

from __future__ import annotations

from ha_agent.errors import BadInput
from ha_agent.vdsm.domain_model import Cpu, Domain
from ha_agent.vdsm.placement import (
    DOMAIN_XML,
    Command,
    Placement,
    QemuBinary,
    UnsupportedDevice,
    blockdev,
    escape,
)
from ha_agent.vdsm.qemu_devices import DeviceArguments


def build_command(domain: Domain, qemu: QemuBinary, placement: Placement) -> Command:
    """Return the command that runs the VM. Raises UnsupportedDevice, or BadInput for the rest."""
    if domain.arch != "x86_64":
        raise BadInput(f"architecture {domain.arch!r} is not supported", where=DOMAIN_XML)
    notes = [f"<{name}> is not used" for name in domain.other_elements]
    machine = _machine(domain, qemu, notes)
    devices = DeviceArguments(domain, qemu, placement, is_q35="q35" in machine)
    devices.collect()
    arguments = (
        qemu.path,
        *_identity(domain, placement),
        *_machine_arguments(domain, placement, machine),
        *("-m", f"size={domain.memory_mib}M"),
        *("-smp", _smp(domain, notes)),
        *("-cpu", _cpu_model(domain.cpu, qemu, placement.accelerator, notes)),
        *devices.arguments(),
    )
    return Command(arguments, (*notes, *devices.notes))


def _identity(domain: Domain, placement: Placement) -> list[str]:
    arguments = [
        *("-name", f"guest={escape(domain.name)},debug-threads=on"),
        *("-uuid", domain.uuid),
        *("-no-user-config", "-nodefaults", "-display", "none"),
        *("-pidfile", str(placement.run_dir / "qemu.pid")),
        *("-chardev", f"socket,id=qmp,fd={placement.qmp_fd},server=on,wait=off"),
        *("-mon", "chardev=qmp,mode=control"),
        *("-rtc", "base=utc,driftfix=slew"),
        *("-boot", f"strict=on,menu={'on' if domain.boot_menu else 'off'}"),
    ]
    if domain.launch_paused:
        arguments.append("-S")
    if domain.destroy_on_reboot:
        arguments += ["-action", "reboot=shutdown"]
    if any(device.tag == "graphics" and device.kind == "vnc" for device in domain.devices):
        arguments += ["-vnc", f"unix:{escape(str(placement.run_dir))}/vnc.sock,password=on"]
    return arguments


def _machine(domain: Domain, qemu: QemuBinary, notes: list[str]) -> str:
    wanted = domain.machine
    if wanted in qemu.machines:
        return wanted
    if wanted and not wanted.startswith(("pc", "q35")):
        raise UnsupportedDevice(f"machine type {wanted[:60]!r} is not supported")
    machine = "q35" if "q35" in wanted else "pc"
    notes.append(f"machine type {wanted or '(none)'} is not in this QEMU, {machine} is used")
    return machine


def _machine_arguments(domain: Domain, placement: Placement, machine: str) -> list[str]:
    options = f"{machine},usb=off,dump-guest-core=off"
    blocks: list[str] = []
    if domain.loader:
        if not placement.firmware:
            raise UnsupportedDevice(f"UEFI firmware {domain.loader} is not on this host")
        blocks = _pflash("pflash0", placement.firmware, read_only=True)
        options += ",pflash0=pflash0"
        if placement.nvram:
            blocks += _pflash("pflash1", placement.nvram, read_only=False)
            options += ",pflash1=pflash1"
    if domain.secure_boot:
        options += ",smm=on"
        blocks += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
    threads = ",thread=multi" if placement.accelerator == "tcg" else ""
    return [*blocks, "-machine", options, "-accel", placement.accelerator + threads]


def _pflash(node: str, path: str, read_only: bool) -> list[str]:
    image = {"driver": "file", "filename": path, "read-only": read_only}
    return blockdev({"driver": "raw", "node-name": node, "read-only": read_only, "file": image})


def _smp(domain: Domain, notes: list[str]) -> str:
    cpu = domain.cpu
    count = f"{domain.vcpus},maxcpus={domain.max_vcpus}"
    if cpu.numa_cells > 1:
        notes.append(f"{cpu.numa_cells} NUMA cells are merged into one")
    if cpu.sockets * cpu.cores * cpu.threads == domain.max_vcpus:
        return count + f",sockets={cpu.sockets},cores={cpu.cores},threads={cpu.threads}"
    if cpu.sockets:
        notes.append("the CPU topology does not give the number of vCPUs and is not used")
    return count


def _cpu_model(cpu: Cpu, qemu: QemuBinary, accelerator: str, notes: list[str]) -> str:
    if cpu.mode in ("host-passthrough", "host-model"):
        model = "host" if accelerator == "kvm" else "max"
    elif not cpu.model:
        model = "max"
    elif cpu.model in qemu.cpu_models:
        model = cpu.model
    else:
        model = "max"
        notes.append(f"CPU model {cpu.model} is not in this QEMU, max is used")
    for policy, name in cpu.features:
        if name not in qemu.cpu_flags:
            notes.append(f"CPU feature {name} is not in this QEMU")
        elif policy in ("require", "force"):
            model += f",{name}=on"
        elif policy in ("disable", "forbid"):
            model += f",{name}=off"
    return model
