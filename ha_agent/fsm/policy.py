# SPDX-License-Identifier: Apache-2.0
"""The settings that decisions depend on; config.py fills it, its keys document each."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ScoreWeights:
    """Points, on the predecessor's scale (3400 is a host without fault)."""

    base: int = 3400
    network: int = 1600
    cpu_load: int = 1000
    bridge: int = 600
    memory: int = 400
    stale_definition: int = 1000
    retry: int = 50
    cpu_load_low: float = 0.4
    cpu_load_high: float = 0.9


@dataclass(frozen=True)
class Hysteresis:
    """When a measured penalty is entered and left (trends.py), and when a host is better.

    A penalty is entered when `samples_needed` of the last `samples_kept` samples are above its
    enter threshold (of the CPU load that is the weights' cpu_load_low), left when as many are at
    or below its leave threshold, and stays for the residency at least. `step` is the change of
    a share (of all samples, of all CPUs) from which its points change, too. Another host is
    better at a lead of `lead_enter` points over `lead_seconds`, until it is below `lead_leave`.
    """

    samples_needed: int = 3
    samples_kept: int = 5
    residency_seconds: float = 60.0
    # The network's share is one of five tests already: 20 % is one of them, 33 % one of three.
    network_enter: float = 0.35
    network_leave: float = 0.2
    cpu_load_leave: float = 0.35
    step: float = 0.1
    # At this lead the predecessor stopped a healthy engine; now it is only said.
    lead_enter: int = 800
    lead_leave: int = 400
    lead_seconds: float = 60.0


@dataclass(frozen=True)
class Policy:
    """Times in seconds."""

    start_timeout_seconds: float = 600.0
    bad_health_grace_seconds: float = 120.0
    stop_timeout_seconds: float = 120.0
    takeover_step_seconds: float = 1.0
    # Delay before the first, second, ... restart after a crash; then another host's turn.
    restart_backoff_seconds: tuple[float, ...] = (0.0, 1.0, 5.0, 15.0)
    restart_window_seconds: float = 600.0
    unexpected_down_seconds: float = 120.0
    # After VDSM said that the VM lease is held elsewhere, or after this host gave the lease up:
    # long enough for another host's agent to see it and take the ownership, short against the
    # start timeout.
    lease_elsewhere_pause_seconds: float = 10.0
    # After such an answer the engine's page is asked for, and while it is good nobody tries again:
    # the VM runs, with nobody to tell of it. Not for ever, as what answers may be something else.
    page_elsewhere_seconds: float = 300.0
    # VDSM silent for so long while the engine is not healthy either: let others try. If the VM
    # does run here after all, its VM lease still forbids a second start.
    vdsm_silent_seconds: float = 60.0
    # How long after its start an agent waits for VDSM's first answer before it calls it silent.
    first_look_seconds: float = 3.0
    # A VM.create without an answer may still take effect. Our call ends after 30 s (verbs.py);
    # half as much again is for a VDSM that was behind. Only a look later than that shows what
    # became of it, and before that the ownership lease is not released.
    start_open_seconds: float = 45.0
    # Between two tries of an effect that failed (destroy, release): VDSM needs a moment.
    retry_pause_seconds: float = 2.0
    weights: ScoreWeights = field(default_factory=ScoreWeights)
    hysteresis: Hysteresis = field(default_factory=Hysteresis)
