# SPDX-License-Identifier: Apache-2.0
"""Calls to storage that always end: one worker process, a deadline for each call.

A process that waits for hung storage can't be interrupted, often not even killed (state D). So
a call that has not ended at its deadline ends here all the same: its worker is sent SIGKILL,
never waited for, and a new worker takes the calls that follow. Killed workers that have not
gone yet are counted, and at `max_abandoned` of them new calls are refused at once: more
processes would hang in the same place.

    call A, 5 s ──▶ worker 1 ─ hangs ┐ at 5 s: SIGKILL, A gets DeadlineExceeded
    call B, 9 s ──────── waits ──────┴▶ worker 2 (started at 5 s) ─▶ answer

Calls run in order, one at a time; a deadline counts from `call`, the queueing included. A call
whose deadline passed may still take effect later: the worker may hang inside the write. What
must not be delayed by anything else, such as the lease, gets a lane of its own.

So a second write of a slot is refused while the first one hangs: that may land later, over it;
or while a worker hangs that an earlier broker left writing, wherever that is (given_up.py).
Reads go on, and one place that hangs does not use up all workers. (The lease is written under a
lock, which the hanging worker holds; store/writer.py has a rule of its own for volumes.)

What a worker held open (lease/file.py's locks) is gone with it: `on_replaced` tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import statistics
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from typing import Any, Callable, Optional, Protocol

import msgpack

from ha_agent.broker.storage.given_up import GivenUp, Leftover
from ha_agent.broker.storage.lane_tally import LaneFigures, LaneTally
from ha_agent.errors import BadInput, DeadlineExceeded, EnvironmentFault
from ha_agent.instant import Instant
from ha_agent.vdsm_user import Owner, process_of

MAX_ANSWER_BYTES = 64 * 1024 * 1024
_LENGTH = struct.Struct(">I")
_LATENCIES_KEPT = 64
_CLOSE_POLLS = 100
_CLOSE_POLL_SECONDS = 0.005
_STREAM_BUFFER_BYTES = 1024 * 1024
_WRITES_OF_ONE_PLACE = {"write_slot": ("path", "slot"), "swap_slot": ("path", "slot")}


class StorageFault(EnvironmentFault):
    """A storage call failed.

    `errno_name` is the errno's name (`EIO`, `ENOENT`, …) or one of: `fault`, `internal` (see
    storage/worker.py), `worker_died` (the call may have taken effect), `stuck` (refused: too
    many abandoned workers, or one that writes there), `closed`, `differs` (blocks/store.py: read
    back something else).
    `path` is the call's file, "" where it has none.
    """

    def __init__(self, errno_name: str, operation: str, path: str, message: str) -> None:
        place = f"{operation} {path}" if path else operation
        super().__init__(f"{place}: {message} ({errno_name})")
        self.errno_name = errno_name
        self.operation = operation
        self.path = path


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def now(self) -> Instant: ...


class WorkerProcess(Protocol):
    """What is needed of subprocess.Popen."""

    pid: int

    def kill(self) -> None: ...

    def poll(self) -> Optional[int]: ...


Launch = Callable[[str, str, str], "tuple[WorkerProcess, socket.socket]"]


def launch_worker(
    python: str, name: str, run_dir: str, owner: Owner = None
) -> tuple[WorkerProcess, socket.socket]:
    """Start a worker process; return it and our end of the socket that is its stdin and stdout.

    Root may start it for `owner`. It dies with the thread that calls this, by PR_SET_PDEATHSIG.
    """
    ours, theirs = socket.socketpair()
    # -I: set-up starts it, too, in whatever folder root is, whose modules would be found first.
    words = ("--lane", name, "--run-dir", run_dir)
    command = [python, "-I", "-m", "ha_agent.broker.storage.worker", *words]
    try:
        with theirs:
            end = theirs.fileno()
            process = subprocess.Popen(command, stdin=end, stdout=end, **process_of(owner))
    except OSError:
        ours.close()
        raise
    ours.setblocking(False)
    return process, ours


class _Worker:
    def __init__(
        self,
        process: WorkerProcess,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.process = process
        self._reader = reader
        self._writer = writer

    async def exchange(self, number: int, request: bytes) -> dict[str, Any]:
        """Send one packed request and return its answer. Raises OSError or EOFError."""
        self._writer.write(_LENGTH.pack(len(request)) + request)
        await self._writer.drain()
        (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
        if length > MAX_ANSWER_BYTES:
            raise EOFError(f"answer of {length} bytes, the limit is {MAX_ANSWER_BYTES}")
        reply = msgpack.unpackb(await self._reader.readexactly(length), strict_map_key=False)
        if not isinstance(reply, dict) or reply.get("id") != number:
            raise EOFError("answer does not belong to the request")
        return reply

    def disconnect(self) -> None:
        self._writer.transport.abort()


class _Call:
    def __init__(
        self, number: int, operation: str, args: dict[str, Any], deadline_seconds: float
    ) -> None:
        loop = asyncio.get_running_loop()
        self.number = number
        self.operation = operation
        self.request: bytes = msgpack.packb({"id": number, "operation": operation, "args": args})
        self.path = str(args.get("path", ""))
        fields = _WRITES_OF_ONE_PLACE.get(operation)
        self.place = [args.get(field) for field in fields] if fields else None
        self.late = DeadlineExceeded(f"{operation} {self.path}".rstrip(), deadline_seconds)
        self.ends_at = loop.time() + deadline_seconds
        self.answer: asyncio.Future[Any] = loop.create_future()

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

    def fault(self, errno_name: str, message: str) -> StorageFault:
        return StorageFault(errno_name, self.operation, self.path, message)


class StorageLane:
    """One queue of storage calls and the worker process that does them."""

    def __init__(
        self,
        name: str,
        run_dir: str,
        *,
        clock: Clock,
        python: str = sys.executable,
        max_abandoned: int = 8,
        on_replaced: Optional[Callable[[str], None]] = None,
        launch: Launch = launch_worker,
        leftovers: Sequence[Leftover] = (),
    ) -> None:
        """`name` and `run_dir` stand in the worker's command line (storage/leftovers.py).

        `on_replaced(reason)` is called when a worker was lost, before any call runs on the
        next one. It must not block.
        """
        self.name = name
        self._run_dir = run_dir
        self._clock = clock
        self._python = python
        self._max_abandoned = max_abandoned
        self._on_replaced = on_replaced
        self._launch = launch
        self._queue: deque[_Call] = deque()
        self._running: Optional[_Call] = None
        self._busy_since: Optional[Instant] = None
        self._runner: Optional[asyncio.Task[None]] = None
        self._closed = False
        self._worker: Optional[_Worker] = None
        self._given_up = GivenUp(leftovers)
        self._last_id = 0
        self._replaced = 0
        self._last_error: Optional[tuple[Instant, str]] = None
        self._latencies: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self.tally = LaneTally()

    async def start(self) -> None:
        """Start the first worker, so that the first call need not. Raises StorageFault."""
        if self._worker is None:
            self._worker = await self._start_worker()

    async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any:
        """Run an operation of storage_worker.OPERATIONS and return its value.

        Raises DeadlineExceeded (it may take effect later), StorageFault, or BadInput for bytes
        that can't be used. Cancelling the call does not stop one that the worker has begun.
        """
        loop = asyncio.get_running_loop()
        self._last_id += 1
        call = _Call(self._last_id, operation, args, deadline_seconds)
        timer = loop.call_at(call.ends_at, self._expire, call)
        try:
            if self._closed:
                raise call.fault("closed", f"storage lane {self.name} is closed")
            self._refuse_when_stuck(call)
            self._queue.append(call)
            if self._runner is None or self._runner.done():
                self._runner = loop.create_task(self._run())
            return await call.answer
        except (EnvironmentFault, BadInput) as error:
            self._last_error = (self._clock.now(), str(error))
            self.tally.errors[_error_name(error)] += 1
            raise
        finally:
            timer.cancel()

    def stats(self) -> dict[str, Any]:
        """Return the figures for status and metrics; reads no storage.

        Keys: lane, worker_pid, replaced (workers lost so far), abandoned_alive, queued,
        busy_since (Instant or None), busy_with (operation or None), last_error and
        last_error_at (or None), latency_seconds {last, median, max} of the last 64 answers
        (None before the first).
        """
        recent = list(self._latencies)
        latency = None
        if recent:
            median = statistics.median(recent)
            latency = {"last": recent[-1], "median": median, "max": max(recent)}
        return {
            "lane": self.name,
            "worker_pid": self._worker.process.pid if self._worker else None,
            "replaced": self._replaced,
            "abandoned_alive": self._given_up.count(),
            "queued": sum(not call.answer.done() for call in self._queue),
            "busy_since": self._busy_since,
            "busy_with": self._running.operation if self._running else None,
            "last_error": self._last_error[1] if self._last_error else None,
            "last_error_at": self._last_error[0] if self._last_error else None,
            "latency_seconds": latency,
        }

    def figures(self) -> LaneFigures:
        """Return the lane as of now, for metrics; reads no storage."""
        queued = sum(not call.answer.done() for call in self._queue)
        stuck = self._given_up.count()
        return LaneFigures(self.name, self.tally, queued, self._busy_since, self._replaced, stuck)

    async def close(self) -> None:
        """End the worker; calls that wait get StorageFault. Takes about a second at most."""
        self._closed = True
        if self._runner is not None and not self._runner.done():
            self._runner.cancel()
            await asyncio.wait({self._runner})
        while self._queue:
            call = self._queue.popleft()
            call.fail(call.fault("closed", "the storage lane was closed"))
        if self._worker is not None:
            worker, self._worker = self._worker, None
            worker.disconnect()  # the end of its stdin: it leaves by itself, unless it hangs
            self._given_up.add(worker.process)
            await self._wait_gone()
            if worker.process.poll() is None:
                worker.process.kill()
        await self._wait_gone()

    def _expire(self, call: _Call) -> None:
        # The running call is _perform's to end, so that its worker is gone before the caller
        # knows and the caller's next call can't meet it.
        if call is not self._running:
            call.fail(call.late)

    async def _wait_gone(self) -> None:
        for _ in range(_CLOSE_POLLS):
            if not self._given_up.count():
                return
            await asyncio.sleep(_CLOSE_POLL_SECONDS)

    async def _run(self) -> None:
        while self._queue:
            call = self._queue.popleft()
            if call.answer.done():
                continue
            self._running, self._busy_since = call, self._clock.now()
            try:
                await self._perform(call)
            except StorageFault as error:
                call.fail(error)
            except asyncio.CancelledError:
                call.fail(call.fault("closed", "the storage lane was closed"))
                raise
            finally:
                self._running = self._busy_since = None
            await self._start_spare()

    async def _perform(self, call: _Call) -> None:
        loop = asyncio.get_running_loop()
        began = self._clock.now()
        worker = await self._ready_worker(call)
        exchange = loop.create_task(worker.exchange(call.number, call.request))
        try:
            await asyncio.wait({exchange}, timeout=max(0.0, call.ends_at - loop.time()))
        finally:
            if not exchange.done():
                exchange.cancel()
                self._lose(worker, f"{call.late}", call)
        if not exchange.done():
            call.fail(call.late)
            return
        try:
            reply = exchange.result()
        except (OSError, EOFError, ValueError, msgpack.exceptions.UnpackException) as error:
            reason = f"storage worker {worker.process.pid} ended in the call: {error}"
            self._lose(worker, reason, call)
            raise call.fault("worker_died", reason) from error
        self._latencies.append(self._clock.now() - began)
        self.tally.answer(self._latencies[-1], reply.get("io"))
        self._settle(call, reply)

    def _settle(self, call: _Call, reply: dict[str, Any]) -> None:
        error = reply.get("error")
        if error is not None and error["code"] == "bad_input":
            call.fail(BadInput(error["message"]))
        elif error is not None:
            call.fail(call.fault(error["code"], error["message"]))
        elif not call.answer.done():
            call.answer.set_result(reply["value"])

    async def _ready_worker(self, call: _Call) -> _Worker:
        if self._worker is not None and self._worker.process.poll() is not None:
            self._lose(self._worker, f"storage worker {self._worker.process.pid} ended while idle")
        self._refuse_when_in_work(call)
        if self._worker is None:
            self._refuse_when_stuck(call)
            self._worker = await self._start_worker()
        return self._worker

    async def _start_spare(self) -> None:
        """Have a worker ready before the next call: an interpreter takes its time to start."""
        if self._worker is None and self._given_up.count() < self._max_abandoned:
            with contextlib.suppress(StorageFault):  # the next call tries again and says so
                self._worker = await self._start_worker()

    async def _start_worker(self) -> _Worker:
        try:
            process, ours = self._launch(self._python, self.name, self._run_dir)
        except OSError as error:
            raise StorageFault(
                errno.errorcode.get(error.errno or 0, "fault"), "start", "", f"no worker: {error}"
            ) from error
        reader, writer = await asyncio.open_connection(sock=ours, limit=_STREAM_BUFFER_BYTES)
        return _Worker(process, reader, writer)

    def _lose(self, worker: _Worker, reason: str, call: Optional[_Call] = None) -> None:
        self._worker = None
        self._replaced += 1
        self._given_up.add(worker.process, call.place if call else None)
        worker.disconnect()
        worker.process.kill()
        if self._on_replaced is not None:
            self._on_replaced(reason)

    def _refuse_when_in_work(self, call: _Call) -> None:
        if call.place is not None and self._given_up.may_write(call.place):
            reason = "refused: an earlier write there hangs in the kernel and may still land"
            raise call.fault("stuck", reason)

    def _refuse_when_stuck(self, call: _Call) -> None:
        count = self._given_up.count()
        if count >= self._max_abandoned:
            raise call.fault(
                "stuck",
                f"refused: {count} storage workers of lane {self.name} hang in the kernel and "
                "can't be killed; calls are taken again when one of them ends",
            )


def _error_name(error: Exception) -> str:
    """One of a bounded set, for counting."""
    if isinstance(error, DeadlineExceeded):
        return "deadline"
    return error.errno_name if isinstance(error, StorageFault) else "bad_input"
