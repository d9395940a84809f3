# SPDX-License-Identifier: Apache-2.0
"""Metrics as a part of the broker: the endpoint and the textfile of [metrics], or nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Callable, Optional, Protocol

from ha_agent.atomic_file import replace_file
from ha_agent.background_writer import BackgroundWriter
from ha_agent.broker.metrics.endpoint import MetricsEndpoint
from ha_agent.broker.metrics.figures import Family, Sources, collect
from ha_agent.broker.part import Part
from ha_agent.config.schema import MetricsConfig
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant

log = logging.getLogger(__name__)

# Whoever asks more often gets the same text again.
_FRESH_SECONDS = 1.0
_OPENMETRICS = "application/openmetrics-text"
_LISTEN_RETRY_SECONDS = 10.0


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def now(self) -> Instant: ...

    async def sleep(self, duration_seconds: float) -> None: ...


def metrics_part(config: MetricsConfig, sources: Sources, *, clock: Clock) -> Part:
    """Return the part; with neither an address nor a textfile it does nothing at all."""
    work: list[Callable[[], Coroutine[Any, Any, None]]] = []
    if config.listen_address:
        work.append(Scrapes(config.listen_address, config.listen_port, sources, clock).run)
    if config.textfile is not None:
        work.append(Textfile(config.textfile, config.interval_seconds, sources, clock).run)
    return Part("metrics", work=tuple(work))


class Scrapes:
    """The endpoint, with the text that it hands out."""

    def __init__(self, address: str, port: int, sources: Sources, clock: Clock) -> None:
        self._sources = sources
        self._clock = clock
        self.endpoint = MetricsEndpoint(address, port, self.text)
        self._made: dict[str, tuple[Instant, tuple[bytes, str]]] = {}
        self._busy = asyncio.Lock()

    async def run(self) -> None:
        """Serve for ever. An address that can't be had yet is tried again: it is no reason to
        end a broker."""
        told = ""
        try:
            while True:
                try:
                    await self.endpoint.start()
                    break
                except EnvironmentFault as fault:
                    if str(fault) != told:
                        log.warning("%s", fault)
                    told = str(fault)
                await self._clock.sleep(_LISTEN_RETRY_SECONDS)
            while True:
                await self._clock.sleep(3600.0)
        finally:
            self.endpoint.stop()

    async def text(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics' text and its content type, at most a second old."""
        # One of two, never what came: the library fails over odd versions in it.
        wanted = _OPENMETRICS if _OPENMETRICS in accept else ""
        async with self._busy:
            made = self._made.get(wanted)
            now = self._clock.now()
            if made is None or now - made[0] >= _FRESH_SECONDS:
                families = collect(self._sources)
                loop = asyncio.get_running_loop()
                made = (now, await loop.run_in_executor(None, _render, families, wanted))
                self._made[wanted] = made
        return made[1]


class Textfile:
    """The file for node_exporter: its thread writes the newest figures, and hangs alone."""

    def __init__(
        self, path: Path, interval_seconds: float, sources: Sources, clock: Clock
    ) -> None:
        self._path = path
        self._interval_seconds = interval_seconds
        self._sources = sources
        self._clock = clock
        self._newest: Optional[list[Family]] = None
        self._writer = BackgroundWriter("metrics", self._write, lambda: None)

    async def run(self) -> None:
        """Write for ever; at the end the file is left as it is, and its age tells."""
        self._writer.start()
        try:
            while True:
                waiting = self._newest is not None
                self._newest = collect(self._sources)
                if not waiting:  # else the thread will take the newer ones
                    self._writer.put(True)
                await self._clock.sleep(self._interval_seconds)
        finally:
            self._writer.stop()

    def _write(self, _newer: bool) -> None:
        families, self._newest = self._newest, None
        if families is not None:
            text, _content_type = _render(families, "")
            # node_exporter runs as a user of its own; after a power cut the file means nothing.
            replace_file(self._path, text, mode=0o644, sync=False)


def _render(families: list[Family], accept: str) -> tuple[bytes, str]:
    # Here, in a thread: the library is only loaded when metrics are wanted.
    from ha_agent.broker.metrics.text import render

    return render(families, accept)
