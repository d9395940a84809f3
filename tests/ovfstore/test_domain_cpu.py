# SPDX-License-Identifier: Apache-2.0
"""Virtual CPUs of a built domain: number, model, NUMA nodes, pinning."""

from __future__ import annotations

import dataclasses

import pytest

from ha_agent.ovfstore.codes import CpuPinningPolicy
from ha_agent.ovfstore.model import NumaNode
from tests.ovfstore.built_domain import VM, attribute, built, notes
from tests.ovfstore.vm_variants import NUMA, SMALL, small


def test_threads_are_counted_and_the_maximum_is_whole_sockets() -> None:
    """The predecessor left threads out of the number: 2 x 4 x 2 were 8."""
    root = built()
    assert attribute(root, "vcpu", "current") == "8"
    assert root.findtext("vcpu") == "16"  # 17 is no whole number of sockets of 2 x 2
    topology = root.find("cpu/topology")
    assert topology is not None
    assert dict(topology.items()) == {"sockets": "4", "cores": "2", "threads": "2"}
    assert "maximum of virtual CPUs is 16, not 17" in notes(VM)
    many = built(small(max_vcpus=400))
    assert (many.findtext("vcpu"), attribute(many, "vcpu", "current")) == ("255", "2")
    assert built(small(sockets=300, max_vcpus=400)).findtext("vcpu") == "300"


def test_model_and_flags() -> None:
    root = built()
    assert root.findtext("cpu/model") == "Nehalem"
    features = [(item.get("name"), item.get("policy")) for item in root.findall("cpu/feature")]
    assert features == [("ibpb", "require"), ("hle", "disable")]
    extra = (("extra_cpu_flags", "+vmx,-hle"),)
    vm = small(cpu_model="Nehalem,aes,,+b d,+hle", user_properties=extra)
    features = [(item.get("name"), item.get("policy")) for item in built(vm).iter("feature")]
    # Twice the same is an error of libvirt's; without sign the engine means it, too.
    assert features == [("aes", "require"), ("hle", "disable"), ("vmx", "require")]
    assert "CPU flag '+b d' can't be one" in notes(vm)


@pytest.mark.parametrize(
    ("model", "uses_host", "mode"),
    [
        (None, True, "host-passthrough"),
        ("hostPassthrough,+vmx", False, "host-passthrough"),
        ("hostModel", False, "host-model"),
        (None, False, None),
    ],
)
def test_host_cpu_models(model: str, uses_host: bool, mode: str) -> None:
    root = built(small(cpu_model=model, uses_host_cpu=uses_host))
    assert attribute(root, "cpu", "mode") == mode
    assert root.find("cpu/model") is None
    assert [item.get("name") for item in root.iter("feature")] == ["vmx"] * ("vmx" in str(model))


def test_numa_nodes_or_one_for_memory_hot_plug() -> None:
    cells = built().findall("cpu/numa/cell")
    assert [(cell.get("cpus"), cell.get("memory")) for cell in cells] == [
        ("0-3", "1048576"),
        ("4-7", "1048576"),
    ]
    assert "not bound to those of a host" in notes(VM)
    alone = dataclasses.replace(VM, numa_nodes=())
    assert attribute(built(alone), "cpu/numa/cell", "cpus") == "0-15"
    plain = built(dataclasses.replace(alone, max_memory_mib=2048))
    assert plain.find("cpu/numa") is None
    assert plain.find("maxMemory") is None
    shared = small(numa_nodes=NUMA, user_properties=(("hugepages_shared", "true"),))
    assert attribute(built(shared), "cpu/numa/cell", "memAccess") == "shared"


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ((NumaNode(0, (0,), 512),), "their memory is not the VM's"),
        ((NumaNode(0, (0, 1), 512), NumaNode(1, (1,), 512)), "have the same CPU"),
        ((NumaNode(0, (0, 4), 1024),), "not those of the VM, 0 to 3"),
        ((NumaNode(0, (), 1024),), "not those of the VM, 0 to 3"),
    ],
)
def test_numa_nodes_that_libvirt_would_refuse(nodes: tuple[NumaNode, ...], reason: str) -> None:
    vm = small(numa_nodes=nodes)
    assert built(vm).find("cpu/numa") is None
    assert reason in notes(vm)


def test_pinning() -> None:
    vm = small(cpu_pinning="1#2-3,^2_0#0_3#^4_9#1_2#8,8-9_x#1_2#1-0")
    pins = [(pin.get("vcpu"), pin.get("cpuset")) for pin in built(vm).iter("vcpupin")]
    assert pins == [("0", "0"), ("1", "2-3,^2"), ("2", "8,8-9")]
    for bad in ("3#^4", "9#1", "x#1", "2#1-0"):
        assert f"CpuPinning '{bad}' is left out" in notes(vm)
    assert attribute_of_policy(vm) == "manual"
    assert built(SMALL).find("cputune") is None


def test_pinning_that_the_engine_decides_at_each_start() -> None:
    vm = small(cpu_pinning_policy=CpuPinningPolicy.DEDICATED)
    assert built(vm).find("cputune") is None
    assert attribute_of_policy(vm) == "none"
    assert "policy DEDICATED is not applied" in notes(vm)
    assert "not applied" not in notes(small(cpu_pinning_policy=CpuPinningPolicy.NONE))


def attribute_of_policy(vm: object) -> str:
    assert isinstance(vm, type(SMALL))
    return built(vm).findtext(".//{http://ovirt.org/vm/1.0}cpuPolicy") or ""
