# SPDX-License-Identifier: Apache-2.0
"""What is done to the engine VM itself: its process, its guest, its page."""

from __future__ import annotations

import http.client
import os
import signal
import time
from typing import Optional

from demo.guest import HTTP_PORT
from lab.budgets import Budget
from lab.case import Lab
from lab.qemu_watch import Run
from lab.view import NotSo

_ASK_SECONDS = 20.0


def kill_qemu(lab: Lab, _target: str) -> Optional[Budget]:
    """SIGKILL to QEMU."""
    run = the_vm(lab)
    os.kill(run.pid, signal.SIGKILL)
    lab.boot_is_due()
    return ended(lab, run.host)


def guest_off(lab: Lab, _target: str) -> Optional[Budget]:
    """The guest shuts itself down."""
    host = the_vm(lab).host
    ask_guest(lab, "poweroff")
    return ended(lab, host)


def the_vm(lab: Lab) -> Run:
    """Return the one that runs. Raises NotSo where it does not."""
    running = lab.observer.qemus.running()
    if len(running) != 1:
        raise NotSo(f"{len(running)} VMs run")
    return running[0]


def ended(lab: Lab, host: str) -> Budget:
    """Note that the VM failed there, and return what its return may cost by now."""
    now = time.monotonic()
    lately = [at for at in lab.ended.get(host, []) if now - at < lab.budgets.window_seconds]
    lab.ended[host] = [*lately, now]
    return lab.budgets.restart(len(lately))


def panic(lab: Lab, _target: str) -> None:
    """The guest's kernel panics, and boots again as it is told to after a second."""
    ask_guest(lab, "panic?reboot")


def panic_for_good(lab: Lab, _target: str) -> None:
    """The guest's kernel panics and stands still: only a hypervisor can end it."""
    _hang(lab, "panic?halt")


def hang_page(lab: Lab, _target: str) -> None:
    """The engine's page takes connections and answers no more, until the guest boots again."""
    _hang(lab, "health?hang")


def _hang(lab: Lab, what: str) -> None:
    host = the_vm(lab).host
    ask_guest(lab, what)
    # The agent counts an engine that hangs as it does one that ended: the next start there waits.
    ended(lab, host)


def ask_guest(lab: Lab, what: str) -> None:
    """Ask a page of the guest that does something to it, from which it recovers by a boot. It
    answers first, and does it then. Raises NotSo."""
    address = lab.cluster.network.engine_address
    connection = http.client.HTTPConnection(address, HTTP_PORT, timeout=_ASK_SECONDS)
    try:
        connection.request("GET", f"/cgi-bin/{what}")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException) as error:
        raise NotSo(f"the guest does not do {what}: {error}") from error
    finally:
        connection.close()
    lab.boot_is_due()
