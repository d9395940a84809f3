# SPDX-License-Identifier: Apache-2.0
"""One QEMU process: spawned so that it outlives us, watched by pidfd, spoken to over QMP.

    spawn     own session, nothing of ours but the QMP listener (fd 3) and the leases (fd 4...)
    watch     the pidfd tells the end at once, for our child and for a QEMU found after a restart
    connect   QMP through the qemu.qmp library; the listener exists before QEMU does, so a
              connect waits for QEMU's greeting and needs no polling
    close     stop watching; QEMU goes on

QEMU is never waited for by its pid, which another process may get; only by the pidfd.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Callable, Optional

from qemu.qmp import EventListener, QMPClient, QMPError, Runstate

from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.waiting import Signal, wait_for_event, within

QMP_SOCKET = "qmp.sock"
LOG = "qemu.log"
QMP_FD = 3
CONNECT_DEADLINE_SECONDS = 30.0
COMMAND_DEADLINE_SECONDS = 10.0
# After QEMU's end its last QMP events are still in the socket; reading them takes a millisecond.
_LAST_EVENTS_SECONDS = 0.2
_HANG_UP_SECONDS = 1.0
# Above what we pass on, so that no dup2 in the child overwrites a descriptor still to be passed.
_SAFE_FD = 64
MAX_SOCKET_PATH_BYTES = 107  # sizeof(sun_path) - 1


@dataclass(frozen=True)
class QemuExit:
    """How QEMU ended. `status` is its exit status, negative for a signal, None when unknown
    (not our child). `shutdown_reason` is that of the QMP event SHUTDOWN, "" without one.
    """

    status: Optional[int]
    shutdown_reason: str


def listen_for_qmp(vm_dir: Path) -> socket.socket:
    """Make the QMP socket that QEMU will inherit. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.bind(str(vm_dir / QMP_SOCKET))
        listener.listen(4)
    except BaseException:
        listener.close()
        raise
    return listener


def spawn(
    arguments: Sequence[str],
    vm_dir: Path,
    qmp_listener: socket.socket,
    leases: Sequence[int],
    variables: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Start QEMU, or what becomes it, and return its pid; `variables` join its environment.

    The caller closes its own copies. Raises OSError.
    """
    passed = [
        fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _SAFE_FD)
        for descriptor in (qmp_listener.fileno(), *leases)
    ]
    try:
        log_flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions: list[Any] = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(vm_dir / LOG), log_flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        actions += [
            (os.POSIX_SPAWN_DUP2, descriptor, QMP_FD + number)
            for number, descriptor in enumerate(passed)
        ]
        return os.posix_spawn(
            arguments[0],
            list(arguments),
            {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **variables},
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            # Python ignores these, and what is ignored stays so over exec.
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
        )
    finally:
        for descriptor in passed:
            os.close(descriptor)


class QemuProcess:
    """A running QEMU. `on_event` gets (name, data) of QMP events, `on_exit` comes once."""

    def __init__(
        self,
        pid: int,
        *,
        on_event: Callable[[str, Mapping[str, Any]], None],
        on_exit: Callable[[QemuExit], None],
    ) -> None:
        """Watch a process. Raises ProcessLookupError when there is none with this pid."""
        self.pid = pid
        self.exited = asyncio.Event()
        # Set while there is no QMP connection, so that whoever keeps one can wait for that.
        self.hung_up = Signal()
        self.hung_up.set()
        self._is_answering = True
        self._pidfd = os.pidfd_open(pid)
        self._on_event = on_event
        self._on_exit = on_exit
        self._client: Optional[QMPClient] = None
        self._session: Optional[asyncio.Task[None]] = None
        self._finish: Optional[asyncio.Task[None]] = None
        self._shutdown_reason = ""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pidfd, self._ended)

    @property
    def is_connected(self) -> bool:
        """Tell whether QMP commands can be sent."""
        return self._client is not None and self._client.runstate == Runstate.RUNNING

    @property
    def is_responding(self) -> bool:
        """Tell whether QEMU answered when it was last asked over QMP."""
        return self.is_connected and self._is_answering

    async def connect(
        self, vm_dir: Path, deadline_seconds: float = CONNECT_DEADLINE_SECONDS
    ) -> None:
        """Connect QMP. Raises EnvironmentFault (QEMU ended, no QMP), DeadlineExceeded."""
        client = QMPClient(f"qemu-{self.pid}")
        client.register_listener(_Events(self._deliver))
        connecting = asyncio.ensure_future(client.connect(str(vm_dir / QMP_SOCKET)))
        try:
            await within(deadline_seconds, connecting)
        except asyncio.TimeoutError:
            raise DeadlineExceeded("QEMU's QMP greeting", deadline_seconds) from None
        except QMPError as error:
            raise EnvironmentFault(f"QMP: {error}") from error
        finally:
            if not connecting.done():
                # The library hangs up; cancelled again in that, by the end of the loop for
                # instance, it logs tracebacks.
                await asyncio.wait({connecting}, timeout=_HANG_UP_SECONDS)
        self._client = client
        self._is_answering = True
        self.hung_up.clear()
        self._session = asyncio.create_task(_hang_up_at_the_end(client, self.hung_up))

    async def execute(
        self, command: str, *, deadline_seconds: float = COMMAND_DEADLINE_SECONDS, **arguments: Any
    ) -> Any:
        """Run a QMP command and return its answer. Raises EnvironmentFault, DeadlineExceeded."""
        client = self._client
        if client is None:
            raise EnvironmentFault(f"QMP {command}: not connected")
        try:
            answer = await within(deadline_seconds, client.execute(command, arguments))
        except asyncio.TimeoutError:
            self._is_answering = False
            raise DeadlineExceeded(f"QMP {command}", deadline_seconds) from None
        except QMPError as error:
            raise EnvironmentFault(f"QMP {command}: {error}") from error
        self._is_answering = True
        # The pidfd may overtake the last answer; who goes on with it must not miss the end.
        if self.exited.is_set():
            raise EnvironmentFault(f"QMP {command}: QEMU has ended")
        return answer

    async def hold(self, descriptor: int, name: str) -> None:
        """Hand QEMU an open file, which it keeps until its end. Raises EnvironmentFault."""
        if self._client is None:
            raise EnvironmentFault("QMP getfd: not connected")
        try:
            self._client.send_fd_scm(descriptor)
        except (QMPError, OSError) as error:
            raise EnvironmentFault(f"QMP getfd: {error}") from error
        await self.execute("getfd", fdname=name)

    def kill(self) -> None:
        """Send SIGKILL to exactly this process."""
        if not self.exited.is_set():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def wait(self, deadline_seconds: float) -> bool:
        """Wait for QEMU's end; return whether it came in time."""
        return await wait_for_event(self.exited, deadline_seconds)

    async def close(self) -> None:
        """Stop watching and hang up; QEMU goes on."""
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        if self._finish is not None and not self.exited.is_set():
            self._finish.cancel()
        if self._session is not None:
            self._session.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._session

    def _ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        status: Optional[int] = None
        # Only a child can be reaped; a QEMU of an earlier life of ours is init's to reap.
        with contextlib.suppress(ChildProcessError):
            result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
            if result is not None:
                is_exit = result.si_code == os.CLD_EXITED
                status = result.si_status if is_exit else -result.si_status
        self._finish = asyncio.create_task(self._report_end(status))

    async def _report_end(self, status: Optional[int]) -> None:
        if status in (0, None) and self._session is not None:
            # It may have ended in order, and then it said why; wait for QMP's end of file.
            await asyncio.wait({self._session}, timeout=_LAST_EVENTS_SECONDS)
        self.exited.set()
        self._on_exit(QemuExit(status, self._shutdown_reason))

    def _deliver(self, message: Mapping[str, Any]) -> None:
        name = str(message.get("event"))
        data = message.get("data")
        fields: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
        if name == "SHUTDOWN":
            self._shutdown_reason = str(fields.get("reason", "guest-shutdown"))
        self._on_event(name, fields)


class _Events(EventListener):
    """Delivers events at once. The library's own queue comes with an unbounded history."""

    def __init__(self, deliver: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__()
        self._deliver = deliver

    def accept(self, event: Mapping[str, Any]) -> bool:
        self._deliver(event)
        return False


async def _hang_up_at_the_end(client: QMPClient, hung_up: Signal) -> None:
    """Wait until the connection ends, or until cancelled, and free what it holds."""
    try:
        if client.runstate == Runstate.RUNNING:
            await client.runstate_changed()
    finally:
        # What ended the connection is raised here; that it ended is all that we need.
        with contextlib.suppress(QMPError, OSError, EOFError, ValueError):
            await client.disconnect()
        hung_up.set()
