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
from lab.view import NotSo, wait_for

_ASK_SECONDS = 20.0
# From a guest's answer to what it was asked to do: it answers first.
_DONE_SECONDS = 60.0
_SILENT_SECONDS = 1.0


def kill_qemu(lab: Lab, _target: str) -> Optional[Budget]:
    """SIGKILL to QEMU."""
    run = the_vm(lab)
    os.kill(run.pid, signal.SIGKILL)
    return ended(lab, run.host)


def guest_off(lab: Lab, _target: str) -> Optional[Budget]:
    """The guest shuts itself down; returns when it has."""
    run = the_vm(lab)
    ask_guest(lab, "poweroff")

    def is_off() -> Optional[bool]:
        return run.pid not in [one.pid for one in lab.observer.qemus.running()] or None

    wait_for(is_off, _DONE_SECONDS, "the guest does not shut down")
    return ended(lab, run.host)


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
    """The guest's kernel panics, and boots again as it is told to after a second; returns when the
    page is gone."""
    ask_guest(lab, "panic?reboot")

    def is_silent() -> Optional[bool]:
        now = time.monotonic()
        return not lab.observer.page.good_between(now - _SILENT_SECONDS, now) or None

    wait_for(is_silent, _DONE_SECONDS, "the guest does not panic")


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
    """Ask a page of the guest that does something to it. Raises NotSo."""
    address = lab.cluster.network.engine_address
    connection = http.client.HTTPConnection(address, HTTP_PORT, timeout=_ASK_SECONDS)
    try:
        connection.request("GET", f"/cgi-bin/{what}")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException) as error:
        raise NotSo(f"the guest does not do {what}: {error}") from error
    finally:
        connection.close()
