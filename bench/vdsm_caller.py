# SPDX-License-Identifier: Apache-2.0
"""A process with one client of VDSM in it, ours or stomp.py's, that calls as it is told.

    python -m bench.vdsm_caller ours|stomp.py PORT [FOLDER]      TLS with FOLDER's certificates

Orders are JSON lines on stdin, and each gets one line on stdout:

    {"calls": n, "method": "Host.ping2", "at_once": m}
    {"events": n, "a_second": r}            r 0: as fast as they come
        -> {"seconds": …, "processor_seconds": …, "latencies": [seconds, …], "lost": n,
            "longest_lag_seconds": … (ours: by how much a sleep of 5 ms was late at worst)}

Both do the same: a call has a uuid, its parameters and its answer pass json, its caller gets its
result; an event is read with json and reaches a reader. stomp.py has a thread that reads; what
waits for a call is a thread on a SimpleQueue, the cheapest that Python has. Ours is the client
that the agent has, bounds and deadlines included.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Callable, Optional, Protocol

from bench.vdsm_responder import CERTIFICATE, EVENTS, KEY
from ha_agent.clock import SystemClock
from ha_agent.config.schema import VdsmConfig
from ha_agent.vdsm.client.from_config import vdsm_client

OURS, THEIRS = "ours", "stomp.py"
_HOST = "127.0.0.1"
_DEADLINE_SECONDS = 30.0
_LAG_PERIOD_SECONDS = 0.005


class Caller(Protocol):
    """A connected client."""

    lost: int
    longest_lag_seconds: float

    def calls(self, count: int, method: str, at_once: int) -> list[float]:
        """Call so often, return each call's time."""

    def events(self, count: int, a_second: int) -> None:
        """Order events and return when all have reached the reader, or were lost and counted."""


class Ours:
    """ha_agent.vdsm.client.client in a loop of its own."""

    def __init__(self, port: int, folder: Optional[Path]) -> None:
        self.lost = 0
        self.longest_lag_seconds = 0.0
        self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(self._connect(port, folder))

    async def _connect(self, port: int, folder: Optional[Path]) -> None:
        ready = asyncio.Event()
        config = VdsmConfig(host=_HOST, port=port, ssl=False)
        if folder is not None:
            certificate = folder / CERTIFICATE
            config = VdsmConfig(_HOST, port, True, folder / KEY, certificate, certificate)
        self._client = vdsm_client(config, SystemClock(), ready.set)
        self._client.start()
        await ready.wait()

    def calls(self, count: int, method: str, at_once: int) -> list[float]:
        """See Caller."""
        return self._loop.run_until_complete(self._calls(count, method, at_once))

    async def _calls(self, count: int, method: str, at_once: int) -> list[float]:
        latencies: list[float] = []

        async def one(share: int) -> None:
            for _ in range(share):
                begun = time.perf_counter()
                await self._client.call(method, {})
                latencies.append(time.perf_counter() - begun)

        if at_once == 1:
            await one(count)
        else:
            await asyncio.gather(*(one(count // at_once) for _ in range(at_once)))
        return latencies

    def events(self, count: int, a_second: int) -> None:
        """See Caller."""
        self._loop.run_until_complete(self._events(count, a_second))

    async def _events(self, count: int, a_second: int) -> None:
        lost_before = self._client.events_lost
        lag = asyncio.ensure_future(self._watch_lag())
        await self._client.call(EVENTS, {"count": count, "a_second": a_second})
        taken = 0
        while taken + self._client.events_lost - lost_before < count:
            await self._client.next_event()
            taken += 1
        self.lost = self._client.events_lost - lost_before
        lag.cancel()

    async def _watch_lag(self) -> None:
        self.longest_lag_seconds = 0.0
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(_LAG_PERIOD_SECONDS)
            late = time.perf_counter() - begun - _LAG_PERIOD_SECONDS
            self.longest_lag_seconds = max(self.longest_lag_seconds, late)


class Theirs:
    """stomp.py and json."""

    def __init__(self, port: int, folder: Optional[Path]) -> None:
        import stomp

        self.lost = 0
        self.longest_lag_seconds = 0.0
        self._waiting: dict[str, queue.SimpleQueue[Any]] = {}
        self._reply_to = str(uuid.uuid4())
        self._events_left = 0
        self._events_done = threading.Event()
        waiting = self._waiting

        class Listener(stomp.ConnectionListener):  # type: ignore[misc]  # it ships no types
            def on_message(_self, frame: Any) -> None:
                message = json.loads(frame.body)
                if "id" in message:
                    waiting[message["id"]].put(message["result"])
                elif message["method"]:
                    self._take_event()

        connection = stomp.Connection12([(_HOST, port)], heartbeats=(5000, 5000))
        if folder is not None:
            certificate = str(folder / CERTIFICATE)
            connection.set_ssl(
                for_hosts=[(_HOST, port)],
                key_file=str(folder / KEY),
                cert_file=certificate,
                ca_certs=certificate,
            )
        connection.set_listener("", Listener())
        # VDSM knows no STOMP frame, which is what 1.2 would begin with.
        connection.connect(wait=True, with_connect_command=True)
        for destination in (self._reply_to, "jms.queue.events"):
            connection.subscribe(destination, id=str(uuid.uuid4()), ack="auto")
        self._connection = connection

    def _take_event(self) -> None:
        self._events_left -= 1
        if not self._events_left:
            self._events_done.set()

    def _call(self, method: str, params: dict[str, Any]) -> Any:
        number = str(uuid.uuid4())
        answer = self._waiting[number] = queue.SimpleQueue()
        body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": number})
        self._connection.send(
            "jms.topic.vdsm_requests",
            body,
            content_type="application/json",
            headers={"reply-to": self._reply_to},
        )
        try:
            return answer.get(timeout=_DEADLINE_SECONDS)
        finally:
            del self._waiting[number]

    def calls(self, count: int, method: str, at_once: int) -> list[float]:
        """See Caller."""
        latencies: list[float] = []

        def one(share: int) -> None:
            for _ in range(share):
                begun = time.perf_counter()
                self._call(method, {})
                latencies.append(time.perf_counter() - begun)

        if at_once == 1:
            one(count)
            return latencies
        threads = [threading.Thread(target=one, args=(count // at_once,)) for _ in range(at_once)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return latencies

    def events(self, count: int, a_second: int) -> None:
        """See Caller."""
        self._events_left = count
        self._events_done.clear()
        self._call(EVENTS, {"count": count, "a_second": a_second})
        self._events_done.wait()


LIBRARIES: dict[str, Callable[[int, Optional[Path]], Caller]] = {OURS: Ours, THEIRS: Theirs}


def obey(caller: Caller, order: dict[str, Any]) -> dict[str, Any]:
    """Do what an order says; the answer is in the module docstring."""
    begun, processor_begun = time.perf_counter(), time.process_time()
    latencies: list[float] = []
    if "calls" in order:
        latencies = caller.calls(order["calls"], order["method"], order["at_once"])
    else:
        caller.events(order["events"], order["a_second"])
    return {
        "seconds": time.perf_counter() - begun,
        "processor_seconds": time.process_time() - processor_begun,
        "latencies": latencies,
        "lost": caller.lost,
        "longest_lag_seconds": caller.longest_lag_seconds,
    }


def main() -> None:
    """Connect, say so, and do what stdin says until it ends."""
    folder = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    caller = LIBRARIES[sys.argv[1]](int(sys.argv[2]), folder)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(obey(caller, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
