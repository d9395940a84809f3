# SPDX-License-Identifier: Apache-2.0
"""The watch over certificates: what is told of their end, when, and that changes are seen."""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
import ssl
from pathlib import Path
from typing import Any, Callable

import pytest

from ha_agent.broker.push.entry import CertificateEntry
from ha_agent.broker.push.expiry import CertificateWatch, Watched, watched_files
from ha_agent.clock import SystemClock
from ha_agent.config.schema import PushConfig, VdsmConfig
from ha_agent.instant import WallTime
from tests.push_certs import ENGINE, Pki

DAY = 86400.0


class ShiftedClock:
    """The real calendar, some days on."""

    def __init__(self) -> None:
        self.days = 0.0

    def wall(self) -> WallTime:
        return SystemClock().wall() + self.days * DAY

    async def sleep(self, duration_seconds: float) -> None:
        await asyncio.sleep(0)


async def eventually(look: Callable[[], Any]) -> None:
    clock = SystemClock()
    ends_at = clock.now() + 20.0
    while not look():
        assert clock.now() < ends_at
        await clock.sleep(0.01)


def test_only_what_is_used_is_watched_and_a_file_once() -> None:
    push, vdsm = PushConfig(), VdsmConfig()
    assert [file.role for file in watched_files(push, vdsm)] == ["vdsm", "vdsm CA"]
    assert watched_files(push, VdsmConfig(ssl=False)) == ()
    on = PushConfig(listen_address="::", cert_file=Path("/own.pem"))
    assert [file.role for file in watched_files(on, vdsm)] == ["vdsm", "vdsm CA", "push"]
    assert [f.role for f in watched_files(on, VdsmConfig(ssl=False))] == ["push", "push CA"]


def test_each_step_to_the_end_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pair = Pki(tmp_path).pair("h1", ends_in=datetime.timedelta(days=40))
    clock = ShiftedClock()
    told: list[tuple[CertificateEntry, ...]] = []
    watch = CertificateWatch([Watched("vdsm", pair.cert)], clock=clock, on_change=told.append)
    said = []
    for clock.days in (0, 5, 11, 12, 34, 35, 39.5, 39.6, 41, 42):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            watch.look()
        said.append([record.levelname for record in caplog.records])
    assert said == [[], [], ["WARNING"], [], ["WARNING"], [], ["WARNING"], [], ["ERROR"], []]
    assert [one[0].warning_days for one in told] == [-1, -1, 30, 30, 7, 7, 1, 1, 0, 0]


async def test_a_new_file_is_seen_and_its_users_told(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    pair = pki.pair("h1", ends_in=datetime.timedelta(hours=1))
    fresh = pki.pair("h1", file="fresh")
    reloads: list[int] = []
    told: list[tuple[CertificateEntry, ...]] = []
    watch = CertificateWatch(
        [Watched("push", pair.cert)],
        clock=ShiftedClock(),
        on_change=told.append,
        more_files=[pair.key],
        on_files=lambda: reloads.append(1),
    )
    running = asyncio.ensure_future(watch.run())
    try:
        await eventually(lambda: told and told[-1][0].warning_days == 1)
        os.replace(fresh.cert, pair.cert)
        await eventually(lambda: told[-1][0].warning_days == -1)
        before = len(reloads)
        os.replace(fresh.key, pair.key)
        await eventually(lambda: len(reloads) > before)
        pair.cert.unlink()
        await eventually(lambda: "No such file" in told[-1][0].problem)
    finally:
        assert not running.done()
        running.cancel()
        await asyncio.wait({running})


async def test_with_nothing_to_watch_it_just_waits() -> None:
    watch = CertificateWatch([], clock=ShiftedClock(), on_change=lambda _entries: None)
    running = asyncio.ensure_future(watch.run())
    await asyncio.sleep(0.01)
    assert not running.done()
    running.cancel()
    await asyncio.wait({running})


def test_a_peers_certificate_is_shown_and_warned_of_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pair = Pki(tmp_path).pair(ENGINE, ends_in=datetime.timedelta(days=3))
    told: list[tuple[CertificateEntry, ...]] = []
    watch = CertificateWatch([], clock=ShiftedClock(), on_change=told.append)
    for _ in range(2):  # the same again is no reason to read all files
        watch.peer_seen("engine", ssl.PEM_cert_to_DER_cert(pair.cert.read_text()))
    assert len(told) == 1
    assert [(one.role, one.warning_days) for one in told[-1]] == [("engine", 7)]
    assert "The engine certificate" in caplog.text
    watch.peer_seen("vdsm server", ssl.PEM_cert_to_DER_cert(pair.cert.read_text()))
    assert [one.role for one in told[-1]] == ["engine", "vdsm server"]
