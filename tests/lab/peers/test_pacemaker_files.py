# SPDX-License-Identifier: Apache-2.0
"""What a Pacemaker host is configured with, and when Pacemaker calls all well."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from lxml import etree

from demo.domain import engine_vm
from lab.peers.pacemaker_files import (
    DOMAIN_FILE,
    ENABLED,
    FENCE_AGENT,
    corosync_conf,
    domain_file,
    host_extras,
    resources_xml,
    troubles,
    unit_links,
)
from lab.plan import LabPlan
from lab.root_files import BRIDGE, MASKED

PLAN = LabPlan("", Path("/nowhere"))
VM = "11111111-2222-3333-4444-555555555555"
DISK = "/srv/ha-lab/disk"


def _domain() -> str:
    ids = [f"{digit * 8}-1111-2222-3333-444444444444" for digit in "abc"]
    return domain_file(engine_vm(ids[0], ids[1], ids[2], VM).engine_xml or "", VM, DISK)


def test_corosync_knows_all_hosts_and_sets_no_time() -> None:
    text = corosync_conf(PLAN)
    for number in (1, 2, 3):
        assert f"name: host{number}" in text
        assert f"ring0_addr: {PLAN.host_address(number)}" in text
    assert text.count("{") == text.count("}")
    assert not re.search(r"token|consensus|join|max_messages|retransmit", text)


def test_the_domain_is_emulated_on_our_disk_and_bridge() -> None:
    root = etree.fromstring(_domain())
    assert root.get("type") == "qemu"
    assert root.findtext("uuid") == VM
    assert [one.get("file") for one in root.iterfind("devices/disk/source")] == [DISK]
    assert [one.get("bridge") for one in root.iterfind("devices/interface/source")] == [BRIDGE]
    assert [one.get("mode") for one in root.iterfind("cpu")] == ["maximum"]
    assert [one.get("model") for one in root.iterfind("devices/controller")] == ["none"]


def test_the_resource_agent_finds_the_domains_name() -> None:
    # heartbeat/VirtualDomain takes the name from a line that has nothing else on it.
    names = [
        line for line in _domain().splitlines() if re.fullmatch(r"\s*<name>.*</name>\s*", line)
    ]
    assert [line.strip() for line in names] == ["<name>HostedEngine</name>"]


@pytest.mark.parametrize("fencing", [True, False])
def test_resources_are_one_vm_and_a_switch_where_there_is_fencing(fencing: bool) -> None:
    root = etree.fromstring(resources_xml(fencing))
    wanted = (["switch"] if fencing else []) + ["engine"]
    assert [one.get("id") for one in root] == wanted
    values = {pair.get("name"): pair.get("value") for pair in root.iter("nvpair")}
    assert values["config"] == f"/{DOMAIN_FILE}"
    if fencing:
        assert values["pcmk_host_list"] == "host1 host2 host3"
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))


def test_hosts_have_the_files_and_the_daemons_enabled() -> None:
    files = host_extras(PLAN, "#!agent")
    assert files[FENCE_AGENT] == "#!agent"
    assert files["etc/corosync/corosync.conf"] == corosync_conf(PLAN)
    links = unit_links()
    for unit in ENABLED:
        path = f"etc/systemd/system/multi-user.target.wants/{unit}"
        assert links[path] == f"/lib/systemd/system/{unit}"
        if unit in MASKED:
            assert links[f"etc/systemd/system/{unit}"] == f"/lib/systemd/system/{unit}"


STATUS = """\
<pacemaker-result><nodes>
<node name="host1" online="true" unclean="false"/>
<node name="host2" online="true" unclean="false"/>
<node name="host3" online="true" unclean="false"/>
</nodes><resources>
<resource id="switch" role="Started"><node name="host3"/></resource>
<resource id="engine" role="Started"><node name="host1"/></resource>
</resources></pacemaker-result>
"""


def test_all_is_well_when_pacemaker_says_what_the_observer_sees() -> None:
    assert troubles(STATUS, "host1", fencing=True) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('name="host2" online="true"', 'name="host2" online="false"', "host2 is not online"),
        ('unclean="false"', 'unclean="true"', "host1 is not online"),
        ('id="engine" role="Started"', 'id="engine" role="Stopped"', "engine is not started"),
        ('id="engine" role', 'id="engine" pending="Monitoring" role', "engine is not started"),
        ('<node name="host1"/>', '<node name="host2"/>', "engine is not on host1, for Pacemaker"),
        ('id="switch"', 'id="other"', "switch is not started"),
    ],
)
def test_what_is_not_well_is_told(old: str, new: str, told: str) -> None:
    assert told in troubles(STATUS.replace(old, new, 1), "host1", fencing=True)


def test_a_host_that_is_not_known_is_missed() -> None:
    status = STATUS.replace('<node name="host3" online="true" unclean="false"/>\n', "")
    assert troubles(status, "host1", fencing=True) == ["a host is not known"]


def test_without_fencing_no_switch_is_asked_for() -> None:
    assert troubles(STATUS.replace('id="switch"', 'id="x"'), "host1", fencing=False) == []
