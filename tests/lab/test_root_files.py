# SPDX-License-Identifier: Apache-2.0
"""What a host's root has on top: its own names, and only units that it needs."""

from __future__ import annotations

from pathlib import Path

from lab.plan import ENGINE_NAME, LabPlan
from lab.root_files import UNITS, host_files, host_links

PLAN = LabPlan("", Path("/w"))


def test_hosts_differ_in_what_names_them() -> None:
    first, second = host_files(PLAN, 1, "a" * 32), host_files(PLAN, 2, "b" * 32)
    assert first.keys() == second.keys()
    own = {"etc/hostname", "etc/machine-id", f"{UNITS}/ha-lab-network.service"}
    assert {name for name in first if first[name] != second[name]} >= own
    assert f"{PLAN.host_address(2)}/24" in second[f"{UNITS}/ha-lab-network.service"]


def test_all_know_the_engine_and_each_other() -> None:
    hosts = host_files(PLAN, 3, "c" * 32)["etc/hosts"].splitlines()
    assert f"{PLAN.engine_address} {ENGINE_NAME}" in hosts
    assert f"{PLAN.host_address(1)} host1" in hosts


def test_nothing_is_both_enabled_and_masked() -> None:
    links = host_links()
    masked = {Path(name).name for name, target in links.items() if target == "/dev/null"}
    wanted = {Path(name).name for name, target in links.items() if target != "/dev/null"}
    assert masked
    assert not masked & wanted


def test_paths_are_below_the_root() -> None:
    names = [*host_files(PLAN, 1, ""), *host_links()]
    assert not [name for name in names if name.startswith("/") or ".." in name]
