# SPDX-License-Identifier: Apache-2.0
"""Changes to XML that leave it well-formed, so that fuzzing gets past the XML parser."""

from __future__ import annotations

import copy
import random

from lxml import etree

TEXTS = (
    "", " ", "0", "1", "-1", "7", "true", "false", "TRUE", "9" * 20, "1e3", "0x10", "a", "\u6f22",
    "00000000-0000-0000-0000-000000000000", "7f6e5d4c-3b2a-4190-8f7e-6d5c4b3a2910", "a=b;c=d",
    "{type=pci, slot=0x03}", "{", "0#0_2#2-3_3#^4", "x" * 300, "<a/>", "]]>", "q35", "E1000",
)  # fmt: skip


def mutate_xml(data: bytes, seed: int) -> bytes:
    """Return `data` with one to three changes; as it is when it is not XML."""
    try:
        root = etree.fromstring(data, etree.XMLParser(resolve_entities=False))
    except (etree.XMLSyntaxError, ValueError):
        return data
    dice = random.Random(seed)
    for _ in range(dice.randint(1, 3)):
        _change(root, dice)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def _change(root: etree._Element, dice: random.Random) -> None:
    elements = [element for element in root.iter() if isinstance(element.tag, str)]
    element, other = dice.choice(elements), dice.choice(elements)
    parent = element.getparent()
    what = dice.randrange(8)
    if what == 0 and parent is not None:
        parent.remove(element)
    elif what == 1 and parent is not None:
        parent.append(copy.deepcopy(element))
    elif what == 2:
        # A copy, as an element can't be put into itself.
        other.append(copy.deepcopy(element))
    elif what == 3:
        element.text = dice.choice(TEXTS)
    elif what == 4:
        element.text = other.text
    elif what == 5 and element.attrib:
        element.set(dice.choice(list(element.attrib)), dice.choice(TEXTS))
    elif what == 6 and element.attrib:
        del element.attrib[dice.choice(list(element.attrib))]
    else:
        element.tag = other.tag
