# SPDX-License-Identifier: Apache-2.0
"""What rows ask of an operator's order for the engine VM (vm_order.py)."""

from __future__ import annotations

from ha_agent.fsm.context import Context
from ha_agent.fsm.observation import VmOrderKind
from ha_agent.fsm.vm_order import STARTS, OrderPhase


def _to_do(context: Context, *kinds: VmOrderKind) -> bool:
    order = context.memory.vm_order
    in_force = bool(context.memory.global_maintenance)
    return in_force and order.phase is OrderPhase.OPEN and order.kind in kinds


def start_ordered(context: Context) -> bool:
    """an operator has ordered the VM's start here"""
    return _to_do(context, *STARTS)


def paused_start_ordered(context: Context) -> bool:
    """an operator has ordered the VM's start here, paused"""
    return _to_do(context, VmOrderKind.START_PAUSED)


def resume_ordered(context: Context) -> bool:
    """an operator has ordered that the paused VM goes on here"""
    return _to_do(context, VmOrderKind.RESUME)


def stop_ordered(context: Context) -> bool:
    """an operator has ordered the VM's stop here"""
    return _to_do(context, VmOrderKind.STOP)


def force_stop_ordered(context: Context) -> bool:
    """an operator has ordered the VM's end here"""
    return _to_do(context, VmOrderKind.FORCE_STOP)


def start_under_way(context: Context) -> bool:
    """an operator's order to start the VM here is being carried out"""
    order = context.memory.vm_order
    return order.is_open and order.kind in STARTS
