# SPDX-License-Identifier: Apache-2.0
"""Virtual CPUs of a built domain: their number, model, topology, NUMA nodes and pinning.

libvirt and QEMU want sockets * cores * threads to be the maximum, NUMA nodes that share no CPU
and have all of the memory, and pinning only to sets that are not empty.
"""

from __future__ import annotations

import re
from typing import Optional

from lxml import etree

from ha_agent.ovfstore.codes import CpuPinningPolicy
from ha_agent.ovfstore.domain_parts import Plan, add, whole_number
from ha_agent.ovfstore.model import VmDefinition

# More need an IOMMU, which the engine gives only to VMs bigger than any engine.
_MOST_VCPUS = 255
_MOST_HOST_CPUS = 4096
_KIB_PER_MIB = 1024
_NAME = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)


def max_vcpus(plan: Plan) -> int:
    """Return the maximum, cut to whole sockets: libvirt wants sockets * cores * threads."""
    vm = plan.vm
    per_socket = vm.cores_per_socket * vm.threads_per_core
    wanted = max(vm.max_vcpus, vm.vcpus)
    most = max(min(wanted, _MOST_VCPUS), vm.vcpus)
    whole = most // per_socket * per_socket
    if whole != vm.max_vcpus:
        plan.note(f"maximum of virtual CPUs is {whole}, not {vm.max_vcpus}: whole sockets only")
    return whole


def has_hotplug_memory(vm: VmDefinition) -> bool:
    """Tell whether the VM may get more memory than it starts with."""
    return vm.max_memory_mib is not None and vm.max_memory_mib > vm.memory_mib


def put_cpu(plan: Plan, root: etree._Element, maximum: int) -> None:
    """Write `<cpu>`; `maximum` is the number from max_vcpus."""
    vm = plan.vm
    model, *flags = [part.strip() for part in (vm.cpu_model or "").split(",")]
    extra_flags = vm.custom_properties.get("extra_cpu_flags", "")
    flags += [part.strip() for part in extra_flags.split(",")]
    if vm.uses_host_cpu or model.lower() == "hostpassthrough":
        cpu = add(root, "cpu", mode="host-passthrough")
    elif model.lower() == "hostmodel":
        cpu = add(root, "cpu", mode="host-model")
    elif model:
        cpu = add(root, "cpu", match="exact")
        add(cpu, "model", model)
    else:
        cpu = add(root, "cpu")
        if any(flags):
            plan.note("CPU flags are left out: they need a CPU model")
        flags = []
    cores, threads = vm.cores_per_socket, vm.threads_per_core
    sockets = maximum // (cores * threads)
    add(cpu, "topology", sockets=str(sockets), cores=str(cores), threads=str(threads))
    for name, policy in _features(plan, flags).items():
        add(cpu, "feature", name=name, policy=policy)
    _put_numa(plan, cpu, maximum)


def _features(plan: Plan, flags: list[str]) -> dict[str, str]:
    """Return policies by name; of a flag given twice, which libvirt refuses, the last counts."""
    features = {}
    for flag in filter(None, flags):
        name = flag[1:] if flag[0] in "+-" else flag
        if _NAME.fullmatch(name):
            features[name] = "disable" if flag[0] == "-" else "require"
        else:
            plan.note(f"CPU flag {flag!r} can't be one and is left out")
    return features


def _put_numa(plan: Plan, cpu: etree._Element, maximum: int) -> None:
    vm = plan.vm
    nodes = [(node.cpus, node.memory_mib) for node in vm.numa_nodes]
    fault = _numa_fault(vm, maximum) if nodes else None
    if fault is not None:
        plan.note(f"NUMA nodes are left out: {fault}")
        nodes = []
    elif any(node.host_nodes or node.tune_mode for node in vm.numa_nodes):
        plan.note("NUMA nodes are not bound to those of a host: the VM may start on any host")
    if not nodes and has_hotplug_memory(vm):
        # libvirt: memory hot plug needs at least one NUMA node.
        nodes = [(tuple(range(maximum)), vm.memory_mib)]
    if not nodes:
        return
    numa = add(cpu, "numa")
    is_shared = vm.custom_properties.get("hugepages_shared", "").lower() == "true"
    for number, (cpus, memory_mib) in enumerate(nodes):
        cell = add(numa, "cell", id=str(number), memory=str(memory_mib * _KIB_PER_MIB))
        if cpus:
            cell.set("cpus", _ranges(cpus))
        if is_shared:
            cell.set("memAccess", "shared")


def _numa_fault(vm: VmDefinition, maximum: int) -> Optional[str]:
    """Return why libvirt would refuse the VM's NUMA nodes, or None."""
    cpus = [number for node in vm.numa_nodes for number in node.cpus]
    if sum(node.memory_mib for node in vm.numa_nodes) != vm.memory_mib:
        return "their memory is not the VM's"
    if len(cpus) != len(set(cpus)):
        return "two of them have the same CPU"
    if not cpus or max(cpus) >= maximum:
        return f"their CPUs are not those of the VM, 0 to {maximum - 1}"
    return None


def _ranges(numbers: tuple[int, ...]) -> str:
    """Return `0-3,8` for 0, 1, 2, 3, 8."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def put_pinning(plan: Plan, root: etree._Element, maximum: int) -> bool:
    """Write `<cputune>` for CpuPinning (`0#0-3_1#4,^5`); return whether a CPU was pinned."""
    vm = plan.vm
    pins: dict[int, str] = {}
    for part in filter(None, (vm.cpu_pinning or "").split("_")):
        vcpu_text, _, host_cpus = part.partition("#")
        vcpu = whole_number(vcpu_text.strip(), 0, maximum - 1)
        host_cpus = host_cpus.replace(" ", "")
        if vcpu is None or not _has_cpus(host_cpus):
            plan.note(
                f"CpuPinning {part[:60]!r} is left out: no CPU of the VM, or of a host, in it"
            )
        else:
            pins[vcpu] = host_cpus
    if pins:
        tune = add(root, "cputune")
        for vcpu, host_cpus in sorted(pins.items()):
            add(tune, "vcpupin", vcpu=str(vcpu), cpuset=host_cpus)
    policy = vm.cpu_pinning_policy
    if policy not in (None, CpuPinningPolicy.NONE, CpuPinningPolicy.MANUAL) and not pins:
        plan.note(
            f"CPU pinning policy {policy.name} is not applied: the engine chooses those CPUs"
        )
    return bool(pins)


def _has_cpus(text: str) -> bool:
    """Tell whether libvirt can read a set such as `0-3,^2,8`, and whether anything is in it."""
    found: set[int] = set()
    for part in text.split(","):
        low, dash, high = part[part.startswith("^") :].partition("-")
        first = whole_number(low, 0, _MOST_HOST_CPUS)
        last = whole_number(high, 0, _MOST_HOST_CPUS) if dash else first
        if first is None or last is None or last < first or (dash and part[0] == "^"):
            return False
        if part[0] == "^":
            found.discard(first)
        else:
            found.update(range(first, last + 1))
    return bool(found)
