# SPDX-License-Identifier: Apache-2.0
"""vm.conf's text: the line that VDSM's hook reads, and nothing that its grammar would bend."""

from __future__ import annotations

import dataclasses
import pathlib

from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.vmconf import vm_conf_text

DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "engine_vm.ovf"
VM = parse_ovf(DATA.read_bytes(), where="F")


def test_the_lines_of_our_engine_vm() -> None:
    lines = vm_conf_text(VM).splitlines()
    assert lines[0] == "vmId=11111111-2222-4333-8444-555555555555"
    assert lines[1:6] == [
        "memSize=2048",
        "smp=8",
        "maxVCpus=17",
        "cpuType=Nehalem,+ibpb,-hle",
        "emulatedMachine=pc-q35-rhel9.6.0",
    ]
    assert lines[6] == "display=vnc"
    assert lines[7].startswith("devices={index:0,iface:virtio,format:cow,poolID:00000000-")
    assert "volumeID:d2000000-0000-4000-8000-00000000000b," in lines[7]


def test_a_name_that_the_grammar_would_change_is_left_out() -> None:
    assert "vmName" not in vm_conf_text(VM)
    plain = dataclasses.replace(VM, name="HostedEngine")
    assert "vmName=HostedEngine\n" in vm_conf_text(plain)
    tricky = dataclasses.replace(VM, name="x\nvmId=other")
    assert vm_conf_text(tricky).count("vmId=") == 1
    assert vm_conf_text(tricky).splitlines() == vm_conf_text(VM).splitlines()
