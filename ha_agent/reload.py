# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: a daemon takes up a new configuration by beginning anew, as the same process.

    SIGHUP          the files are read and checked as a whole
      faulty        all faults are logged, nothing else happens: the old configuration stays
      good          RELOADING=1 to systemd; the work ends in order, as at a stop; then exec:
                    same pid, same children, and the listening socket that systemd had passed
      started       READY=1

So the configuration is still loaded once, at a process root, and no part needs to know how to
change under way. Callers who come meanwhile wait in the listening socket. The engine VM, its
guard and its leases are other processes' and notice nothing.

What names this host, its VM and its lease is not changed this way (KEPT): a lease that is held
would be left under the old name. From exec until the handler is there SIGHUP is blocked, not
lost: the next process finds it waiting.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, NoReturn, Optional

from ha_agent.config.layers import Config, ConfigError, Fault, shown
from ha_agent.errors import EnvironmentFault, HaAgentError
from ha_agent.journal_messages import CONFIG_REFUSED, CONFIG_TAKEN
from ha_agent.log import fields
from ha_agent.readiness import Readiness

log = logging.getLogger(__name__)

KEPT = (
    "host.id", "host.run_dir", "host.hypervisor", "engine.vm_uuid", "lease.backend", "lease.path",
    "sanlock.path", "sanlock.lockspace", "broker.socket",
)  # fmt: skip
_FIRST_PASSED_FD = 3  # SD_LISTEN_FDS_START
_COMMAND_LINE = Path("/proc/self/cmdline")


def refuse_other(old: Config, new: Config, kept: Sequence[str] = KEPT) -> None:
    """Raise ConfigError with each of the keys `kept` that differs."""
    before = {f"{value.section}.{value.key}": value.text for value in shown(old)}
    faults = [
        Fault(
            value.origin,
            f"[{value.section}] {value.key} = {value.text}: the daemon that runs has"
            f" {before[name] or 'none'}; that takes a stop and a start to change",
        )
        for value in shown(new)
        for name in (f"{value.section}.{value.key}",)
        if name in kept and value.text != before[name]
    ]
    if faults:
        raise ConfigError(faults)


class Reload:
    """Whether this process is to begin anew."""

    def __init__(
        self, check: Callable[[], None], readiness: Readiness, wake: Callable[[], None]
    ) -> None:
        """`check` raises HaAgentError where what is in the files now can't be used; it is called
        in the loop, and so is `wake`, once the process is to begin anew."""
        self._check = check
        self._readiness = readiness
        self._wake = wake
        self.asked = False
        """Whether it is to begin anew."""

    def listen(self) -> None:
        """Take SIGHUP from now on, one that waits as well. Call it in the loop."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hangup)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def _hangup(self) -> None:
        if self.asked:
            return
        try:
            self._check()
        except HaAgentError as fault:
            text = "not reloaded, the configuration in use stays: %s"
            log.error(text, fault, extra=fields(CONFIG_REFUSED, reason=fault))
            return
        log.info("reload: beginning anew with the new configuration", extra=fields(CONFIG_TAKEN))
        self.asked = True
        self._readiness.reloading()
        self._readiness.status("reloading the configuration")
        self._wake()


def begin_anew(listener: Optional[socket.socket] = None) -> NoReturn:
    """Replace this process by a new one of the same command; `listener` is handed on to it.

    Raises EnvironmentFault when it can't be; the work has ended then.
    """
    environ = {**os.environ}
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(name, None)
    try:
        words = _COMMAND_LINE.read_bytes().rstrip(b"\0").split(b"\0")
        command = [sys.executable, *map(os.fsdecode, words[1:])]
        # The loop's handler went with the loop, and other threads block nothing.
        signal.signal(signal.SIGHUP, lambda _number, _frame: None)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        # What no one has taken yet (log.py) has a second to get out, before its descriptor may be
        # taken from it.
        logging.shutdown()
        if listener is not None:
            if listener.fileno() == _FIRST_PASSED_FD:
                listener.set_inheritable(True)
            else:
                os.dup2(listener.fileno(), _FIRST_PASSED_FD)
            environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
        os.execve(sys.executable, command, environ)
    except OSError as error:
        raise EnvironmentFault(f"can't begin anew: {error}") from error
