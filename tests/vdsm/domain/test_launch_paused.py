# SPDX-License-Identifier: Apache-2.0
"""The flag in the metadata, where VDSM reads it."""

from __future__ import annotations

import pytest
from lxml import etree

from ha_agent.errors import BadInput
from ha_agent.vdsm.domain.document import parse_domain
from ha_agent.vdsm.domain.launch_paused import VM_NAMESPACE, launch_paused
from tests.vdsm.embedded import make_xml

FLAG = f"{{{VM_NAMESPACE}}}launchPaused"


def flags(xml: str) -> list[etree._Element]:
    return [
        one
        for one in etree.fromstring(xml).iter()
        if isinstance(one.tag, str) and etree.QName(one).localname == "launchPaused"
    ]


@pytest.mark.parametrize(
    "before",
    [
        "",
        "<ovirt-vm:launchPaused type='bool'>false</ovirt-vm:launchPaused>",
        "<launchPaused>false</launchPaused>",
        "<launchPaused>true</launchPaused><ovirt-vm:launchPaused>false</ovirt-vm:launchPaused>",
    ],
)
def test_one_flag_with_its_namespace_says_it(before: str) -> None:
    xml = make_xml(metadata=before)
    assert "true" in before or not parse_domain(xml).launch_paused
    made = launch_paused(xml)
    [flag] = flags(made)
    assert (flag.tag, flag.text, flag.get("type")) == (FLAG, "true", "bool")
    parent = flag.getparent()
    assert parent is not None
    assert parent.tag == f"{{{VM_NAMESPACE}}}vm"
    assert parse_domain(made).launch_paused
    assert launch_paused(made) == made


def test_nothing_else_changes() -> None:
    before, after = parse_domain(make_xml()), parse_domain(launch_paused(make_xml()))
    assert {name for name in vars(before) if vars(before)[name] != vars(after)[name]} == {
        "launch_paused"
    }


def test_a_domain_without_metadata_gets_it() -> None:
    [flag] = flags(launch_paused("<domain><name>x</name></domain>"))
    assert flag.tag == FLAG


@pytest.mark.parametrize("text", ["", "<vm/>", "<!DOCTYPE d><domain/>"])
def test_what_is_no_domain_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        launch_paused(text)
