# SPDX-License-Identifier: Apache-2.0
"""explain, events and replay of a real host, with and without its daemons."""

from __future__ import annotations

import pytest

from tests.e2e.lone import CLOCK, done, eventually, lone_host, no_tracebacks, run, says

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def test_a_host_tells_why_and_what_happened() -> None:
    with lone_host() as host:
        host.start()
        says(host, "Lease: held by host1", "(EngineStarting)")
        why = done(host, "explain")
        assert "This host holds the lease." in why
        assert "(EngineStarting)" in why
        assert "It is waiting for the engine to answer" in why
        texts = (
            "This host took the lease",
            "(EngineStart)",
            "Starting the engine VM: accepted",
        )

        def events() -> str:
            # The agent's come to the broker with a report, which may be the one after.
            told = done(host, "events")
            return told if all(text in told for text in texts) else ""

        told = eventually(events, f"no {texts}")
        for daemon in ("ha-agent", "ha-broker"):
            host.daemons[daemon].terminate()
            host.daemons[daemon].wait(20)
        CLOCK.block(0.2)
        without = run("ha-agent", host.config, "events")
        assert "what it left on this host" in without.stderr
        assert without.stdout.startswith(told[:200])
        again = done(host, "replay", str(host.folder / "state" / "decisions"))
        assert "this version decides the same" in again
        no_tracebacks(host)
