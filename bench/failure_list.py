# SPDX-License-Identifier: Apache-2.0
"""The failures, in the order in which they are measured, and what docs/failures.md says of each.

QEMU's ends stand apart from each other, with a move to another host between them: the second
within ten minutes on one host waits a second before its restart, by design.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional

from bench import failure_acts as acts
from bench import failure_times as times
from bench.failure_cluster import FailureCluster
from bench.failure_times import TIMES, Promise

Act = Callable[[FailureCluster, str], Optional[float]]


@dataclass(frozen=True)
class Failure:
    """One failure. `see` is in a host's `ha-agent status` meanwhile, where `…` stands for
    anything; empty: nothing is to be seen. `promise` is None where the VM runs on untouched, or,
    with `restarts`, where its return depends on no limit of ours. `do`: what an operator does."""

    name: str
    title: str
    see: str
    does: str
    do: str
    act: Act
    promise: Optional[Promise] = None
    restarts: bool = True
    guide: str = ""


def _hung(seconds: float) -> str:
    return f"{seconds:g} s"


FAILURES = (
    Failure(
        "qemu-killed",
        "QEMU is killed, or crashes",
        "Engine VM … starts on …",
        "the same host starts it again at once; the next ones within 10 minutes after 1, 5 and "
        "15 s, the fifth is left to another host",
        "nothing; look at `ha-agent incidents` when it comes again",
        acts.kill_qemu,
        times.restart(),
    ),
    Failure(
        "power-cut",
        "the owner loses its power",
        "Engine VM … starts on …",
        "another host starts the VM when the dead one's lease has run out",
        "nothing for the engine",
        acts.power_cut,
        times.takeover(),
        guide="host-died",
    ),
    Failure(
        "guest-off",
        "the guest shuts itself down (from QEMU's end)",
        "Engine VM … starts on …",
        "as when QEMU is killed: it is to run, so it is started again",
        "nothing; to keep it down, global maintenance first",
        acts.guest_off,
        times.restart(),
    ),
    Failure(
        "local-maintenance",
        "local maintenance of the owner",
        "Local maintenance",
        "the guest is shut down in order, the lease given back, and the best other host starts it",
        "`ha-agent maintenance none` when the host may take part again",
        acts.local_maintenance,
        times.orderly_stop(),
        guide="change-the-vm",
    ),
    Failure(
        "agent-killed",
        "the agent is killed (SIGKILL)",
        "",
        "systemd starts it again; it finds VM and lease and carries on",
        "nothing",
        acts.kill_agent,
        restarts=False,
    ),
    Failure(
        "broker-killed",
        "the broker is killed (SIGKILL)",
        "",
        "systemd starts it again; it finds its own record, adopts it and renews",
        "nothing",
        acts.kill_broker,
        restarts=False,
    ),
    Failure(
        "vdsm-killed",
        "ha-vdsm is killed (SIGKILL)",
        "",
        "systemd starts it again; it finds QEMU, which has never depended on it",
        "nothing",
        acts.kill_vdsm,
        restarts=False,
    ),
    Failure(
        "agent-stopped",
        f"the agent hangs for {_hung(TIMES.paused_seconds)} (SIGSTOP)",
        "! this host's agent last reported …: does ha-agent run?",
        "the broker renews on, and the VM runs on; after 30 s systemd's watchdog would restart it",
        "nothing",
        acts.pause_agent,
        restarts=False,
    ),
    Failure(
        "broker-stopped",
        f"the broker hangs for {_hung(TIMES.paused_seconds)} (SIGSTOP), longer than its lease",
        "Engine VM … starts on …",
        "its guard ends the VM before the lease is over, then another host starts it",
        "nothing; look into the host's journal why it hung",
        acts.pause_broker,
        times.takeover(),
    ),
    Failure(
        "block-damaged",
        "a byte of the owner's status block is damaged",
        "its status block can't be used",
        "the others keep what they knew of that host; it writes its block anew within 5 s",
        "nothing, unless it comes again: then the storage is damaged, or somebody writes there",
        acts.damage_block,
        restarts=False,
    ),
    Failure(
        "store-torn",
        "the OVF_STORE copy in use ends in its middle",
        "definition …, from volume …",
        "the other copy is read; the engine's next update, or a put, mends it",
        "`ha-agent store verify`",
        acts.tear_store,
        restarts=False,
        guide="restore-from-backup",
    ),
    Failure(
        "storage-owner",
        "the owner's storage hangs; the file server frees its locks",
        "hang in the kernel: storage does not answer",
        "its guard ends the VM before the lease is over, then another host starts it",
        "mend the path to the storage; the host comes back by itself",
        acts.hang_storage,
        times.takeover(),
        guide="storage-died",
    ),
    Failure(
        "lock-file",
        "the lock file can't be read or written on any host for "
        f"{_hung(TIMES.lock_file_unreadable_seconds)}",
        "! lease: …",
        "nobody can renew: the guard ends the VM; a host starts it when the file can be read",
        "give the lock file its owner and mode back (vdsm:kvm, 0660)",
        acts.unreadable_lock_file,
        times.takeover_after(TIMES.lock_file_unreadable_seconds),
        guide="storage-died",
    ),
    Failure(
        "storage-all",
        f"the storage of all hosts hangs for {_hung(TIMES.storage_hangs_seconds)}, and is back",
        "hang in the kernel: storage does not answer",
        "the guard ends the VM; nothing can start until the storage is back",
        "mend the storage; the rest comes by itself",
        acts.hang_all_storage,
        times.takeover_after(TIMES.storage_hangs_seconds),
        guide="storage-died",
    ),
    Failure(
        "cluster-shutdown",
        "the cluster was shut down in order (from `ha-agent cluster resume`)",
        "Cluster shutdown: in force since …",
        "the best host starts the VM",
        "`ha-agent cluster resume`",
        acts.cluster_shutdown,
        guide="cluster-shutdown",
    ),
    Failure(
        "power-cut-all",
        "all hosts lose power, and are on again (from when the brokers answer)",
        "Engine VM … starts on …",
        "the host that had the lease finds its record and starts the VM; else it runs out",
        "nothing",
        acts.power_cut_all,
        times.after_boot(),
        guide="cluster-shutdown",
    ),
    Failure(
        "engine-hangs",
        "the engine's page hangs, the VM runs",
        "EngineUpBadHealth",
        f"after {TIMES.grace:g} s of bad answers the guest is shut down in order, and the VM is "
        "started where it is best",
        "to look into the guest first: global maintenance",
        acts.hang_engine,
        times.page_grace(),
        guide="engine-hangs",
    ),
)
NAMES = tuple(failure.name for failure in FAILURES)

# What this machine can't do to real hosts: scenarios of the simulator, in its own words.
SIMULATED = (
    "crash-other-host",
    "storage-other-host",
    "net-owner",
    "net-owner-cable",
    "net-other-host",
    "net-all",
    "crash-agent-long",
    "crash-broker-long",
    "crash-vdsm-long",
    "crash-loop-moves",
    "hang-guest",
    "hang-boot",
    "storage-guest-paused-for-good",
    "clock-suspend-owner",
)
