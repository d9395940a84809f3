# SPDX-License-Identifier: Apache-2.0
"""Broker and storage worker killed in the middle of a put, or two hosts that put at once.

Nothing is lost, a reader has the one or the other, whole, and the next put repairs.

The store has 2000 VMs, so that writing a copy whole takes long enough to be hit.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

import pytest

from bench.status_latency import NURSERY, children
from demo.hosts import PROGRAMS, Host
from demo.watcher import command_line
from ha_agent.ovfstore.approval import identity_of
from tests.e2e.lone import (
    CLOCK,
    LIMIT_SECONDS,
    described,
    done,
    edited,
    eventually,
    in_use,
    read_ovf,
    says,
    started,
    store_volumes,
    tear,
    write_ovf,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(480)]

OTHER_VMS = 2000
LOOK_SECONDS = 0.0005


def marked(count: int) -> Callable[[Host], Callable[[], bool]]:
    """Return what tells when so many copies have been marked as being written."""

    def begin(host: Host) -> Callable[[], bool]:
        volumes = store_volumes(host.domain)
        seen: set[Path] = set()

        def look() -> bool:
            seen.update(volume for volume in volumes if "Writer" in described(volume))
            return len(seen) >= count

        return look

    return begin


def written(count: int) -> Callable[[Host], Callable[[], bool]]:
    """Return what tells when so many copies have been written to."""

    def begin(host: Host) -> Callable[[], bool]:
        before = {v: v.stat().st_mtime_ns for v in store_volumes(host.domain)}
        return lambda: sum(v.stat().st_mtime_ns != at for v, at in before.items()) >= count

    return begin


def kill_broker(host: Host) -> None:
    """SIGKILL: its storage workers go with it, wherever they are."""
    broker = host.daemons.pop("ha-broker")
    broker.kill()
    broker.wait(10)


def stop_broker(host: Host) -> None:
    """As systemd does."""
    broker = host.daemons.pop("ha-broker")
    broker.terminate()
    assert broker.wait(30) == 0


def kill_workers(host: Host) -> None:
    """SIGKILL to the storage workers alone: the broker notices, and goes on."""
    broker = host.daemons["ha-broker"].pid
    nurseries = [pid for pid in children(broker) if NURSERY in command_line(pid)]
    workers = [pid for nursery in nurseries for pid in children(nursery)]
    assert workers
    for pid in workers:
        os.kill(pid, signal.SIGKILL)


def putting(host: Host, file: Path) -> subprocess.Popen[str]:
    """Begin a put."""
    return subprocess.Popen(
        [str(PROGRAMS / "ha-agent"), "--config", str(host.config), "store", "put", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def put_and_kill(
    host: Host,
    file: Path,
    begin: Callable[[Host], Callable[[], bool]],
    kill: Callable[[Host], None],
) -> bool:
    """Put the file, kill when it has come so far; return whether the put was done before."""
    look = begin(host)
    put = putting(host, file)
    try:
        ends_at = CLOCK.now() + LIMIT_SECONDS
        while not look() and put.poll() is None:
            assert CLOCK.now() < ends_at
            CLOCK.block(LOOK_SECONDS)
        kill(host)
        stdout, stderr = put.communicate(timeout=60)
    finally:
        put.kill()
        put.wait(10)
    if put.returncode == 0:
        assert "is in the store" in stdout
        return True
    assert put.returncode == 1
    assert stdout == ""
    assert stderr.startswith("ha-agent: ")
    assert "Traceback" not in stderr
    return False


Rounds = Sequence[tuple[bool, Callable[[Host], Callable[[], bool]]]]
"""Whether a copy is torn before, which is written whole then, and first; how far the put comes."""


@pytest.mark.parametrize(
    ("kill", "rounds"),
    [
        (
            kill_broker,
            [(True, written(1)), (False, written(2)), (True, written(2)), (False, marked(1))],
        ),
        (stop_broker, [(True, written(1)), (False, marked(1))]),
        (kill_workers, [(True, written(1)), (False, written(2))]),
    ],
)
def test_after_a_kill_the_old_or_the_new_one_is_read_whole(
    host: Host, twin: Host, tmp_path: Path, kill: Callable[[Host], None], rounds: Rounds
) -> None:
    old = read_ovf(host.domain)
    write_ovf(host.domain, old, others=OTHER_VMS)
    started(host, twin)
    file = tmp_path / "new.ovf"
    whole = 0
    for number, (is_torn, begin) in enumerate(rounds):
        new = edited(host.domain, old, memory_mib=300 + number)
        file.write_bytes(new)
        if is_torn:
            tear(store_volumes(host.domain)[number % 2])
        was_done = put_and_kill(host, file, begin, kill)
        whole += was_done
        done(twin, "refresh")
        assert in_use(twin) in ((new,) if was_done else (old, new))
        if kill is not kill_workers:
            host.start(["ha-broker"])
            says(host, "  definition ")
        assert in_use(host) in ((new,) if was_done else (old, new))
        assert host.dead_daemons() == []
        done(host, "store", "put", str(file))
        assert done(twin, "store", "verify").count(identity_of(new)) == 2
        assert in_use(twin) == in_use(host) == new
        old = new
    # A broker that dies at its first copy's end has the second one still to mark.
    assert whole < len(rounds) or kill is kill_workers


@pytest.mark.parametrize("begin", [marked(1), written(1), marked(2)])
def test_of_two_hosts_that_put_at_once_one_gives_way(
    host: Host, twin: Host, tmp_path: Path, begin: Callable[[Host], Callable[[], bool]]
) -> None:
    old = read_ovf(host.domain)
    started(host, twin)
    news = [edited(host.domain, old, memory_mib=300 + number) for number in range(2)]
    files = [tmp_path / f"{number}.ovf" for number in range(2)]
    for new, file in zip(news, files):
        file.write_bytes(new)
    look = begin(host)
    first = putting(host, files[0])
    eventually(lambda: look() or first.poll() is not None, "nothing happens")
    second = putting(twin, files[1])
    ended = []
    for put in (first, second):
        stdout, stderr = put.communicate(timeout=180)
        assert "Traceback" not in stderr
        assert (put.returncode == 0) == ("is in the store" in stdout), stderr
        ended.append(put.returncode == 0)
    done(host, "refresh")
    done(twin, "refresh")
    assert in_use(host) == in_use(twin)
    # The second one that succeeds is the later one. On a slow machine both may give way.
    possible = [new for new, was_put in zip(news, ended) if was_put][-1:] or [old, *news]
    assert in_use(host) in possible
    done(host, "store", "put", str(files[0]))
    assert done(twin, "store", "verify").count(identity_of(news[0])) == 2
