# SPDX-License-Identifier: Apache-2.0
"""A domain XML whose VM starts with its processors standing still, until VM.cont.

VDSM reads that from the XML alone, where its metadata stands; the key launchPaused of VM.create's
vmParams is ignored (facts 3):

    <metadata><ovirt-vm:vm xmlns:ovirt-vm="http://ovirt.org/vm/1.0">
      <ovirt-vm:launchPaused type="bool">true</ovirt-vm:launchPaused>

Such a VM holds no VM lease yet: VM.cont takes it. Only for a VM that this host owns.
"""

from __future__ import annotations

from lxml import etree

from ha_agent.vdsm.domain.document import domain_root

VM_NAMESPACE = "http://ovirt.org/vm/1.0"
_NAME = "launchPaused"


def launch_paused(domain_xml: str) -> str:
    """Return the same domain, to be started paused. Raises BadInput when it is no domain XML."""
    root = domain_root(domain_xml)
    metadata = root.find("metadata")
    if metadata is None:
        metadata = etree.SubElement(root, "metadata")
    block = metadata.find(f"{{{VM_NAMESPACE}}}vm")
    if block is None:
        block = etree.SubElement(
            metadata, f"{{{VM_NAMESPACE}}}vm", nsmap={"ovirt-vm": VM_NAMESPACE}
        )
    # Old engines wrote it without the namespace (facts 3): one word of it stays, this one.
    for child in list(block):
        if isinstance(child.tag, str) and etree.QName(child).localname == _NAME:
            block.remove(child)
    flag = etree.SubElement(block, f"{{{VM_NAMESPACE}}}{_NAME}", type="bool")
    flag.text = "true"
    return etree.tostring(root, encoding="unicode")
