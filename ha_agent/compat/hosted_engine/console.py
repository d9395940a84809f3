# SPDX-License-Identifier: Apache-2.0
"""`hosted-engine --console`: the engine VM's serial console, on the host where the VM runs.

This process becomes the program that shows it, as the predecessor's did:

    a socket of oVirt's console proxy, or of the embedded VDSM     socat; ^] leaves it
    otherwise libvirt's console                                    virsh console
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ha_agent.cli.ovf import printable
from ha_agent.compat.hosted_engine.command import (
    CONF_PATH,
    HostedEngine,
    complain,
    replace_process,
)
from ha_agent.vdsm.vm.registry import run_folder

PROXY_FOLDER = Path("/var/run/ovirt-vmconsole-console")
VIRSH_AUTH = Path("/") / CONF_PATH.with_name("virsh_auth.conf")
_ESCAPE = "Escape character is ^]"
# With VDSM libvirt asks for a password, which stands in that file.
_VDSM_URI = f"qemu:///system?authfile={VIRSH_AUTH}"


def console(command: HostedEngine) -> int:
    """Run the verb. Where it can, it does not return."""
    status = command.look().agent.engine_status
    if status.get("vm") not in ("up", "unknown"):
        print("The engine VM is not on this host")
        return 1
    detail = status.get("detail", "unknown")
    if detail == "Up":
        print("The engine VM is running on this host")
    else:
        print(printable(f"The engine VM is on this host but its status is {detail}"))
        print("Trying anyway to connect to its console:\n")
    settings, vm_uuid = command.settings, command.vm_uuid
    if settings.host.hypervisor == "libvirt":
        return _become(command, "virsh", "-c", settings.libvirt.uri, "console", vm_uuid)
    embedded = run_folder(settings.host.run_dir) / vm_uuid / "console.sock"
    for socket in (PROXY_FOLDER / f"{vm_uuid}.sock", embedded):
        if socket.is_socket():
            print(_ESCAPE, flush=True)
            return _become(
                command, "socat", f"UNIX-CONNECT:{socket}", "STDIO,raw,echo=0,escape=29"
            )
    return _become(command, "virsh", "-c", _VDSM_URI, "console", vm_uuid)


def _become(command: HostedEngine, name: str, *arguments: str) -> int:
    program = shutil.which(name, path=command.environ.get("PATH"))
    if program is None:
        return complain(f"{name} is not installed, which shows the console")
    return replace_process(program, *arguments)
