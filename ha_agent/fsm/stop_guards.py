# SPDX-License-Identifier: Apache-2.0
"""What rows ask of a stop: what the VM is being stopped for, and whether that still holds."""

from __future__ import annotations

from ha_agent.fsm.context import Context
from ha_agent.fsm.cut_off import better_off_here
from ha_agent.fsm.guards import (
    global_maintenance,
    healthy,
    lease_ours,
    lease_taken_away,
    local_maintenance,
    vm_paused,
)
from ha_agent.fsm.memory import StopReason

_VM_WAS_GONE = frozenset(
    {
        None,
        StopReason.FAILED_TOO_OFTEN,
        StopReason.LEASE_ELSEWHERE,
        StopReason.MIGRATED,
        StopReason.UNABLE,
    }
)


def nothing_to_stop(context: Context) -> bool:
    """only the lease was to be given up: the VM was gone already"""
    return context.memory.stop_reason in _VM_WAS_GONE


def stop_over(context: Context) -> bool:
    """what the VM is being stopped for is over"""
    reason = context.memory.stop_reason
    if lease_taken_away(context):
        return False
    if reason is StopReason.MAINTENANCE:
        return not local_maintenance(context)
    if reason is StopReason.LEASE_LOST:
        return lease_ours(context)
    if reason is StopReason.PAUSED:
        return not vm_paused(context)
    if reason is StopReason.CLUSTER_SHUTDOWN:
        return healthy(context) and not shutting_down(context)
    if reason is StopReason.CUT_OFF:
        return better_off_here(context)
    return healthy(context) and reason in (StopReason.HUNG, StopReason.START_TIMEOUT)


def gave_up_here(context: Context) -> bool:
    """the VM failed here too often"""
    return context.memory.stop_reason is StopReason.FAILED_TOO_OFTEN


def shutdown_ready(context: Context) -> bool:
    """the cluster is to be shut down, and everything but the engine VM is"""
    order = context.memory.shutdown
    return global_maintenance(context) and order.ordered and order.ready


def shutting_down(context: Context) -> bool:
    """the VM is being stopped for the shutdown of the cluster, which is still ordered"""
    ordered = global_maintenance(context) and context.memory.shutdown.ordered
    return ordered and context.memory.stop_reason is StopReason.CLUSTER_SHUTDOWN
