# SPDX-License-Identifier: Apache-2.0
"""The VM's emulated TPM: a swtpm process beside QEMU, which ends with it.

    1. a listening socket in the VM's run directory, which swtpm inherits
    2. swtpm is spawned, with its state in <run directory>/tpm
    3. QEMU connects by the socket's path; when that connection ends, so does swtpm

The state lasts as long as the VM's record: a VM that is created anew has an empty TPM, as the
translator says in its notes. Data that somebody hands VM.create for it is refused (vm_verbs.py).
"""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

from ha_agent.vdsm.domain.model import Domain
from ha_agent.vdsm.qemu.process import QemuProcess, spawn

SOCKET = "swtpm.sock"
_INHERITED_FD = 3


def socket_for(domain: Domain, vm_dir: Path) -> str:
    """Return where QEMU is to find the VM's TPM; "" when it has none, or swtpm is not here."""
    has_tpm = any(device.tag == "tpm" for device in domain.devices)
    return str(vm_dir / SOCKET) if has_tpm and shutil.which("swtpm") else ""


def start(vm_dir: Path) -> QemuProcess:
    """Start swtpm and return its process. Raises OSError."""
    state = vm_dir / "tpm"
    state.mkdir(mode=0o700, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.bind(str(vm_dir / SOCKET))
        listener.listen(1)
        command = [
            *(shutil.which("swtpm") or "swtpm", "socket", "--tpm2", "--terminate"),
            *("--tpmstate", f"dir={state},mode=0600"),
            *("--ctrl", f"type=unixio,fd={_INHERITED_FD}"),
        ]
        pid = spawn(command, vm_dir, listener, ())
    finally:
        listener.close()
    # It has no QMP; what is used of it is that its end is seen and that it can be killed.
    return QemuProcess(pid, on_event=lambda _name, _data: None, on_exit=lambda _end: None)
