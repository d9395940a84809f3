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


# Where a header's fields are (POSIX ustar): name, size, type, link, magic, prefix. Not mode, owner
# and time, which mean nothing to us, and at whose faults Python's tarfile stops without a word.
_TAR_FIELDS = (
    (0, 100),
    (124, 12),
    (156, 1),
    (157, 100),
    (257, 8),
    (345, 155),
)
_TAR_TEXTS = (
    b"", b"0", b"1", b"5", b"L", b"x", b"g", b"\0", b"00000000000 ", b"00000001000 ",
    b"00000000777 ", b"77777777777 ", b"-0000000001 ", b"\x80" + bytes(9) + b"\x02\0",
    b"\xff" * 12, b"info.json", b"../up", b"/abs", b"a/", b"000016.ovf", b"000016.json",
    b"vm.conf", b"7f6e5d4c-3b2a-4190-8f7e-6d5c4b3a2910.ovf", b"a" * 100, b"\xc3\x28", b"a\0b",
)  # fmt: skip
_BLOCK = 512


def mutate_tar(data: bytes, seed: int) -> bytes:
    """Return `data` with one to three fields of headers, or whole blocks, changed."""
    content = bytearray(data)
    dice = random.Random(seed)
    for _ in range(dice.randint(1, 3)):
        headers = [
            at for at in range(0, len(content), _BLOCK) if content[at + 257 :][:5] == b"ustar"
        ]
        if not headers:
            return bytes(content)
        at, what = dice.choice(headers), dice.randrange(6)
        end = at + _BLOCK
        if what == 0:
            other = dice.choice(headers)
            content[other:other] = content[at : end + _BLOCK * dice.randrange(3)]
        elif what == 1:
            del content[at : end + _BLOCK * dice.randrange(3)]
        elif what == 2 and len(content) > end:
            content[dice.randrange(end, len(content))] = dice.randrange(256)
        else:
            start, length = dice.choice(_TAR_FIELDS)
            text = dice.choice(_TAR_TEXTS)[:length].ljust(length, b"\0")
            content[at + start : at + start + length] = text
            content[at + 148 : at + 156] = b" " * 8
            content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at:end])
    return bytes(content)
