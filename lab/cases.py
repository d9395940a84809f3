# SPDX-License-Identifier: Apache-2.0
"""All cases, in the order in which they are done. What each does is in acts_*.py.

QEMU's unasked ends stand apart, with moves to another host between them: the second one within ten
minutes on one host waits a second before its restart, by design (budgets.py counts them).
"""

from __future__ import annotations

from lab import acts_hosts as hosts
from lab import acts_people as people
from lab import acts_storage as storage
from lab import acts_vm as vm
from lab.budgets import Budgets
from lab.case import ALL, BLOCK, FILE, OTHER, Case

_UNTOUCHED = Budgets.untouched

CASES: tuple[Case, ...] = (
    Case(
        "power-cut",
        "the owner loses its power",
        hosts.power_cut,
        Budgets.takeover,
        mend=hosts.boot,
        quick=True,
        drawn=True,
    ),
    Case(
        "power-cut-other",
        "a host without the VM loses its power",
        hosts.power_cut,
        _UNTOUCHED,
        on=OTHER,
        mend=hosts.boot,
        drawn=True,
    ),
    Case(
        "boot-all",
        "all hosts lose their power, and boot at once",
        hosts.power_cut_all,
        Budgets.takeover,
        on=ALL,
        quick=True,
        drawn=True,
    ),
    Case(
        "host-suspended",
        "the owner stands still for longer than its lease, and goes on",
        hosts.suspend,
        Budgets.takeover,
    ),
    # Our daemons -------------------------------------------------------------------------
    Case(
        "agent-killed",
        "SIGKILL to the agent",
        hosts.kill_agent,
        _UNTOUCHED,
        quick=True,
        drawn=True,
    ),
    Case(
        "broker-killed",
        "SIGKILL to the broker",
        hosts.kill_broker,
        _UNTOUCHED,
        quick=True,
        drawn=True,
    ),
    Case("vdsm-killed", "SIGKILL to ha-vdsm", hosts.kill_vdsm, _UNTOUCHED, quick=True, drawn=True),
    Case(
        "daemons-killed",
        "SIGKILL to agent, broker and ha-vdsm at once",
        hosts.kill_all_daemons,
        _UNTOUCHED,
        drawn=True,
    ),
    Case(
        "daemons-restarted",
        "systemctl restart of agent, broker and ha-vdsm",
        hosts.restart_all_daemons,
        _UNTOUCHED,
        drawn=True,
    ),
    Case(
        "agent-stopped",
        "SIGSTOP to the agent for longer than the lease",
        hosts.stop_agent,
        _UNTOUCHED,
        drawn=True,
    ),
    Case(
        "broker-stopped",
        "SIGSTOP to the broker for longer than the lease",
        hosts.stop_broker,
        Budgets.fenced,
        quick=True,
        drawn=True,
    ),
    Case(
        "vdsm-stopped",
        "SIGSTOP to ha-vdsm for longer than the lease",
        hosts.stop_vdsm,
        _UNTOUCHED,
        drawn=True,
    ),
    Case(
        "sanlock-killed",
        "SIGKILL to the owner's sanlock",
        hosts.kill_sanlock,
        Budgets.fenced,
        mend=hosts.start_sanlock,
        storages=(BLOCK,),
    ),
    # Storage -----------------------------------------------------------------------------
    Case(
        "storage-blinks",
        f"the owner's storage hangs for {storage.BLINK_SECONDS:g} s",
        storage.blink,
        _UNTOUCHED,
        drawn=True,
    ),
    Case(
        "storage-hangs",
        "the owner's storage hangs; the server frees its locks; it is back",
        storage.hang,
        Budgets.fenced,
        mend=storage.mend_hung,
        quick=True,
        drawn=True,
    ),
    Case(
        "storage-hangs-all",
        "the storage of all hosts hangs for longer than the lease, and is back",
        storage.hang_all,
        Budgets.fenced,
        on=ALL,
        mend=storage.mend_all,
        drawn=True,
    ),
    Case(
        "storage-gone",
        "the owner's storage fails with EIO, and is back",
        storage.gone,
        Budgets.fenced,
        mend=storage.mend,
        drawn=True,
    ),
    Case(
        "storage-gone-other",
        "the storage of a host without the VM fails with EIO, and is back",
        storage.gone,
        _UNTOUCHED,
        on=OTHER,
        mend=storage.mend,
        drawn=True,
    ),
    Case(
        "storage-gone-all",
        "the storage of all hosts fails for longer than the lease, and is back",
        storage.gone_all,
        Budgets.fenced,
        on=ALL,
        mend=storage.mend_all,
        drawn=True,
    ),
    Case(
        "storage-full",
        "not a byte is free on the shared storage",
        storage.fill,
        _UNTOUCHED,
        on=ALL,
        mend=storage.empty,
        drawn=True,
    ),
    Case(
        "disk-full",
        "the owner's /var/lib/ha-agent is full, and its daemons start anew",
        people.fill_disk,
        _UNTOUCHED,
        mend=people.free_disk,
    ),
    Case(
        "run-full",
        "the owner's /run is full for longer than the lease",
        people.fill_run,
        _UNTOUCHED,
        mend=people.free_run,
    ),
    # Network and clocks ------------------------------------------------------------------
    Case(
        "network-between-hosts",
        f"no host reaches another for {hosts.NETWORK_SECONDS:g} s; the owner's own cable is in",
        hosts.cut_between_hosts,
        _UNTOUCHED,
        mend=hosts.join_all,
        quick=True,
        drawn=True,
    ),
    Case(
        "network-owner",
        "the owner's cable is out until the engine runs elsewhere",
        hosts.cut_cable,
        Budgets.cut_off,
        mend=hosts.join_all,
    ),
    Case(
        "network-owner-blinks",
        f"the owner's cable is out for {hosts.NETWORK_SECONDS:g} s",
        hosts.blink_cable,
        _UNTOUCHED,
        mend=hosts.join_all,
        drawn=True,
    ),
    Case(
        "clock-jumps",
        "the owner's calendar clock jumps by an hour, back, and by a day",
        hosts.jump_clock,
        _UNTOUCHED,
        mend=hosts.real_clock,
    ),
    # The VM ------------------------------------------------------------------------------
    Case("qemu-killed", "SIGKILL to QEMU", vm.kill_qemu, Budgets.restart, quick=True, drawn=True),
    Case("guest-off", "the guest shuts itself down", vm.guest_off, Budgets.restart, drawn=True),
    Case(
        "guest-panic",
        "the guest's kernel panics, and boots again by itself",
        vm.panic,
        Budgets.reboot,
        quick=True,
        drawn=True,
    ),
    Case(
        "guest-panic-halts",
        "the guest's kernel panics, and stands still",
        vm.panic_for_good,
        Budgets.hung,
    ),
    Case("page-hangs", "the engine's page hangs, the VM runs", vm.hang_page, Budgets.hung),
    # People ------------------------------------------------------------------------------
    Case(
        "maintenance-local",
        "local maintenance of the owner",
        people.local_maintenance,
        Budgets.handed_over,
        mend=people.no_maintenance,
        quick=True,
        drawn=True,
    ),
    Case(
        "maintenance-local-other",
        "local maintenance of a host without the VM, and its end",
        people.local_maintenance_other,
        _UNTOUCHED,
        on=OTHER,
        mend=people.no_maintenance,
        drawn=True,
    ),
    Case(
        "maintenance-global",
        "global maintenance while the VM runs, and its end",
        people.global_maintenance,
        _UNTOUCHED,
        mend=people.no_maintenance,
        drawn=True,
    ),
    Case(
        "maintenance-global-down",
        "the VM ends in global maintenance; nobody starts it until that is over",
        people.down_in_global_maintenance,
        Budgets.takeover,
        mend=people.no_maintenance,
    ),
    Case(
        "push-in-failover",
        "a definition is pushed to a survivor while the owner is dead; all have it",
        people.push_while_owner_is_dead,
        Budgets.takeover,
        mend=people.boot_and_know,
        quick=True,
    ),
    Case(
        "upgrade",
        "newer packages on every host, one after the other",
        people.rolling_upgrade,
        _UNTOUCHED,
    ),
)


def of_storage(kind: str, quick: bool, only: tuple[str, ...] = ()) -> list[Case]:
    """Return the cases for a kind of storage: all, the quick ones, or those named."""
    found = [case for case in CASES if kind in case.storages]
    if only:
        return [case for case in found if case.name in only]
    return [case for case in found if case.quick or not quick]


__all__ = ["CASES", "FILE", "of_storage"]
