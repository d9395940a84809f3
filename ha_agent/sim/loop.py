# SPDX-License-Identifier: Apache-2.0
"""An asyncio event loop in virtual time, and simulated processes on it.

Its time jumps to the next timer, so an hour takes as long as its callbacks. No selector, no
threads, no real clock: the order of callbacks depends on nothing but their own doings (by time,
then by the order in which they were asked for). Tasks and futures are asyncio's own.

Every callback belongs to a `Process`, kept in its contextvars context, so that what a task
starts belongs to the task's process:

    hang     SIGSTOP: its callbacks are kept, in order, until `go_on`
    kill     SIGKILL: its callbacks are dropped for ever; no `finally` of it runs. Its tasks are
             kept from the garbage collector, which would run them
    suspend  the host sleeps: its callbacks are kept and its timers end later by as much

An exception that nobody handles ends the run: `run_until` raises it. run_in_executor raises:
there is no thread to wait for in virtual time.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
from collections import deque
from collections.abc import Awaitable, Coroutine, Iterator
from typing import Any, Callable, Optional, TypeVar

from ha_agent.errors import InvariantBroken
from ha_agent.sim.pause import Pause

T = TypeVar("T")

_PROCESS: contextvars.ContextVar[Process] = contextvars.ContextVar("process")


class Process:
    """One simulated process. `rate` is how fast its host's clocks run."""

    __slots__ = (
        "_loop",
        "_parked",
        "_steps_left",
        "_then",
        "alive",
        "attention",
        "context",
        "hung",
        "name",
        "on_killed",
        "rate",
    )  # fmt: skip

    def __init__(self, loop: SimLoop, name: str, rate: float = 1.0) -> None:
        self._loop = loop
        self.name = name
        self.rate = rate
        self.alive = True
        self.hung = 0
        """How many things hold it up at once."""
        self.attention = False
        """Whether its callbacks are to be looked at before they run."""
        self.on_killed: list[Callable[[], None]] = []
        """Called when it ends, such as by the other ends of its connections."""
        self._parked: list[SimHandle] = []
        self._steps_left: Optional[int] = None
        self.context = contextvars.copy_context()
        self.context.run(_PROCESS.set, self)

    def __repr__(self) -> str:
        return f"<process {self.name}>"

    def spawn(self, work: Coroutine[Any, Any, T], *, daemon: bool = True) -> asyncio.Task[T]:
        """Start a task in this process. Of a `daemon` task an exception ends the whole run."""
        task: asyncio.Task[T] = self.context.copy().run(self._loop.create_task, work)
        if not self.alive:
            self._loop.bury()
        if daemon:
            task.add_done_callback(self._loop.task_ended)
        return task

    def run(self, function: Callable[[], T]) -> T:
        """Call a function now, as this process: what it starts belongs to it."""
        return self._loop.run_as(self, self.context.copy(), function)

    def call_later(
        self, delay_seconds: float, callback: Callable[..., object], *args: Any
    ) -> SimHandle:
        """Call a function in this process after so long by its host's clock."""
        handle = SimHandle(callback, args, self.context, self)
        self._loop.push(self._loop.now + max(0.0, delay_seconds) / self.rate, handle)
        return handle

    def hang(self) -> None:
        """Stop it where it is; each needs a `go_on`."""
        self.hung += 1
        self.attention = True

    def go_on(self) -> None:
        """End one `hang`: what was to run meanwhile runs now, in order."""
        self.hung -= 1
        if self.hung or not self.alive:
            return
        self.attention = self._steps_left is not None
        parked, self._parked = self._parked, []
        self._loop.ready.extend(parked)

    def kill(self) -> None:
        """End it at once. Killing it again changes nothing."""
        if not self.alive:
            return
        self.alive = False
        self.attention = True
        self._loop.bury()  # before what was parked is let go of
        self._parked = []
        told, self.on_killed = self.on_killed, []
        for tell in told:
            tell()

    def kill_at(self, steps: int, then: Callable[[], None]) -> None:
        """Call `then`, which is to kill it, in place of its n-th next callback."""
        self._steps_left = max(1, steps)
        self.attention = True
        self._then = then

    def admits(self, handle: SimHandle) -> bool:
        """Tell whether a callback of this process, which needs attention, may run now."""
        if not self.alive:
            return False
        if self.hung:
            self._parked.append(handle)
            return False
        if self._steps_left is not None:
            self._steps_left -= 1
            if self._steps_left <= 0:
                self._steps_left = None
                self.attention = False
                self._loop.outside.call_later(0.0, self._then)
                self.hang()  # until then nothing of it runs
                self._parked.append(handle)
                return False
        return True


class SimHandle(asyncio.TimerHandle):
    """A callback to come, of a process."""

    __slots__ = ("process",)

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context,
        process: Process,
    ) -> None:
        self._callback = callback
        self._args = args
        self._context = context
        self._cancelled = False
        self.process = process

    def cancel(self) -> None:
        self._cancelled = True

    def cancelled(self) -> bool:
        return self._cancelled

    def __repr__(self) -> str:
        return f"<{self.process.name}: {self._callback!r}>"


class SimLoop(asyncio.AbstractEventLoop):
    """The loop. `now` is the true time in seconds since the simulation began."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self.ready: deque[SimHandle] = deque()
        self._heap: list[tuple[float, int, SimHandle]] = []
        self._sequence = 0
        self._error: Optional[BaseException] = None
        self._running = False
        self._graveyard: list[asyncio.Task[Any]] = []
        self.outside = Process(self, "world")
        """The process of what belongs to none."""
        self._process = self.outside
        self._context = self.outside.context

    # Running -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be the running loop, so that asyncio's objects can be made."""
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        self._running = True
        try:
            yield
        finally:
            self._running = False
            asyncio._set_running_loop(before)

    def run_until(self, end_seconds: float) -> None:
        """Run all that is due up to a time. Raises what a callback did not handle."""
        ready, heap = self.ready, self._heap
        pop_ready, pop_timer = ready.popleft, heapq.heappop
        steps = 0
        try:
            while self._error is None:
                if ready:
                    handle = pop_ready()
                elif heap and heap[0][0] <= end_seconds:
                    self.now, _, handle = pop_timer(heap)
                else:
                    self.now = max(self.now, end_seconds)
                    break
                if handle._cancelled:
                    continue
                process = handle.process
                if process.attention and not process.admits(handle):
                    continue
                self._process = process
                self._context = context = handle._context
                steps += 1
                context.run(handle._callback, *handle._args)
        finally:
            self.steps += steps
            self._process, self._context = self.outside, self.outside.context
        if self._error is not None:
            raise self._error

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run one coroutine to its end, outside of all processes."""
        with self.entered():
            task = self.outside.spawn(work, daemon=False)
            while not task.done():
                if not self.ready and not self._heap:
                    raise InvariantBroken("nothing will ever happen again in this world")
                self.run_until(self._heap[0][0] if self._heap and not self.ready else self.now)
            return task.result()

    def run_as(
        self, process: Process, context: contextvars.Context, function: Callable[[], T]
    ) -> T:
        """Call a function as if a callback of this process did."""
        before = self._process, self._context
        self._process, self._context = process, process.context
        try:
            return context.run(function)
        finally:
            self._process, self._context = before

    def fail(self, error: BaseException) -> None:
        """End the run with this error."""
        self._error = self._error or error

    def task_ended(self, task: asyncio.Task[Any]) -> None:
        """Take the end of a task that has nobody else to look at it."""
        if not task.cancelled():
            error = task.exception()
            if error is not None:
                self.fail(error)

    def bury(self) -> None:
        """Keep all tasks of now: the garbage collector would run a dead one's `finally`."""
        self._graveyard.extend(asyncio.all_tasks(self))

    def end(self) -> None:
        """Let go of all tasks. Call it when the simulation is over: `finally` blocks may run."""
        self._running = False
        self.bury()
        for task in self._graveyard:
            with contextlib.suppress(RuntimeError):  # one that awaits while it is being closed
                task.get_coro().close()

    def push(self, when: float, handle: SimHandle) -> None:
        """Put a callback on the list of timers."""
        self._sequence += 1
        heapq.heappush(self._heap, (when, self._sequence, handle))

    def sleep(self, duration_seconds: float) -> Awaitable[None]:
        """As asyncio.sleep: for so long by the clock of the process that asks."""
        return Pause(self, duration_seconds) if duration_seconds > 0.0 else asyncio.sleep(0)

    def delay(self, processes: tuple[Process, ...], duration_seconds: float) -> None:
        """Let the timers of these processes end later, as after a suspend of their host."""
        moved = [
            (when + duration_seconds if handle.process in processes else when, number, handle)
            for when, number, handle in self._heap
        ]
        heapq.heapify(moved)
        self._heap[:] = moved

    # What asyncio asks for ---------------------------------------------------------------

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: Optional[contextvars.Context] = None,
    ) -> SimHandle:
        if context is None:
            handle = SimHandle(callback, args, self._context, self._process)
        else:
            handle = SimHandle(callback, args, context, context.get(_PROCESS, self.outside))
        self.ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Optional[contextvars.Context] = None,
    ) -> SimHandle:
        if context is None:
            process = self._process
            handle = SimHandle(callback, args, self._context, process)
        else:
            process = context.get(_PROCESS, self.outside)
            handle = SimHandle(callback, args, context, process)
        self._sequence += 1
        when = self.now + delay / process.rate if delay > 0.0 else self.now
        heapq.heappush(self._heap, (when, self._sequence, handle))
        return handle

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Optional[contextvars.Context] = None,
    ) -> SimHandle:
        return self.call_later(when - self.now, callback, *args, context=context)

    def time(self) -> float:
        return self.now

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: Optional[str] = None
    ) -> asyncio.Task[T]:
        return asyncio.Task(coro, loop=self, name=name)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Asyncio found an exception that nobody looked at. A dead process's tasks don't count."""
        if "was destroyed" in context.get("message", "") or not self._running:
            return
        error = context.get("exception")
        self.fail(error or InvariantBroken(str(context.get("message"))))

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return False

    def run_in_executor(self, *asked: Any) -> Any:  # type: ignore[override]
        raise InvariantBroken(f"a thread was asked for in virtual time: {asked[1:]}")

    def call_soon_threadsafe(self, *asked: Any, **_: Any) -> Any:  # type: ignore[override]
        raise InvariantBroken(f"a thread has called in virtual time: {asked}")


def new_loop() -> SimLoop:
    """Return a loop. What it does not implement is asyncio's to refuse."""
    return SimLoop()  # type: ignore[abstract]
