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

- Huge pages and NUMA cells are given where they fit; where they don't, the VM runs without, with a
  note: an engine that is slower beats none.

A device that the guest would miss (disk, network, TPM, host device) and that can't be given is an
UnsupportedDevice that names it. One that only costs comfort is left out and listed in `notes`.
"""

from __future__ import annotations

from ha_agent.errors import BadInput
from ha_agent.vdsm.domain.model import Domain
from ha_agent.vdsm.qemu.devices import DeviceArguments
from ha_agent.vdsm.qemu.machine import MachineArguments
from ha_agent.vdsm.qemu.placement import (
    DOMAIN_XML,
    Command,
    Placement,
    QemuBinary,
    escape,
)


def build_command(domain: Domain, qemu: QemuBinary, placement: Placement) -> Command:
    """Return the command that runs the VM. Raises UnsupportedDevice, or BadInput for the rest."""
    if domain.arch != "x86_64":
        raise BadInput(f"architecture {domain.arch!r} is not supported", where=DOMAIN_XML)
    notes = [f"<{part}> is not used" for part in domain.unknown_parts]
    machine = MachineArguments(domain, qemu, placement)
    devices = DeviceArguments(domain, qemu, placement, is_q35=machine.is_q35)
    arguments = (
        qemu.path,
        *_identity(domain, placement),
        *machine.arguments(),
        *devices.collect(),
    )
    return Command(arguments, (*notes, *machine.notes, *devices.notes))


def _identity(domain: Domain, placement: Placement) -> list[str]:
    arguments = [
        *("-name", f"guest={escape(domain.name)},debug-threads=on"),
        *("-uuid", domain.uuid),
        *("-no-user-config", "-nodefaults", "-display", "none"),
        *("-pidfile", str(placement.run_dir / "qemu.pid")),
        *("-chardev", f"socket,id=qmp,fd={placement.qmp_fd},server=on,wait=off"),
        *("-mon", "chardev=qmp,mode=control"),
    ]
    if domain.launch_paused:
        arguments.append("-S")
    if domain.destroy_on_reboot:
        arguments += ["-action", "reboot=shutdown"]
    if any(graphics.kind == "vnc" for graphics in domain.graphics):
        socket = f"{escape(str(placement.run_dir))}/vnc.sock"
        arguments += ["-vnc", f"unix:{socket},password=on"]
    return arguments
