# SPDX-License-Identifier: Apache-2.0
"""Typed reads of a vm.conf's values, and the account of what was read."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from ha_agent.errors import BadInput
from ha_agent.ovfstore.vmconf_fields import ConfFields
from ha_agent.ovfstore.vmconf_grammar import Value


def fields(**values: Value) -> ConfFields:
    return ConfFields(values, what="disk", where="F", line=7)


def test_values_are_read_by_their_type() -> None:
    found = fields(
        a="x", b="12", c="TRUE", d="AAAAAAAA-1111-2222-3333-444444444444", e="", f="None"
    )
    assert found.text("a") == "x"
    assert found.number("b") == 12
    assert found.flag("c", False) is True
    assert found.uuid("d") == "aaaaaaaa-1111-2222-3333-444444444444"
    assert [found.text(name) for name in ("e", "f", "missing")] == [None, None, None]
    assert found.flag("missing", True) is True
    assert found.choice("a", {"x": 5}, 0) == 5
    assert not found.unused()


def test_what_was_not_read_is_told() -> None:
    found = fields(a="1", b="2", c="", d="None", e={"x": "1"}, f={})
    found.text("a")
    assert found.unused() == ("b=2", "e")
    found.take("b", "e")
    assert found.unused() == ()


def test_an_address_is_sorted_pairs() -> None:
    found = fields(address={"type": "pci", "slot": "0x03"})
    assert found.address() == (("slot", "0x03"), ("type", "pci"))
    assert fields(address="None").address() == fields().address() == ()


def test_spec_params_are_paths() -> None:
    found = fields(specParams={"b": "", "a": {"y": "2", "x": "1"}})
    assert found.spec_params() == (("a/x", "1"), ("a/y", "2"), ("b", ""))
    assert fields(custom={"queues": "4"}).custom_properties() == (("queues", "4"),)


BAD: list[tuple[str, Mapping[str, Value], str]] = [
    ("text", {"x": {}}, "disk x: a text is expected"),
    ("number", {"x": "-1"}, "disk x: '-1' is no whole number"),
    ("number", {"x": "1e3"}, "is no whole number"),
    ("number", {"x": "9" * 19}, "is no whole number"),
    ("number", {"x": "\u0661"}, "is no whole number"),
    ("uuid", {"x": "12"}, "disk x: '12' is not a UUID"),
    ("group", {"x": "y"}, "disk x: 'y' has no braces"),
]


@pytest.mark.parametrize(("read", "values", "message"), BAD)
def test_a_wrong_value_is_named(read: str, values: Mapping[str, Value], message: str) -> None:
    found = ConfFields(values, what="disk", where="F", line=7)
    with pytest.raises(BadInput, match=f"F, line 7: .*{message}"):
        getattr(found, read)("x")


def test_more_wrong_values() -> None:
    with pytest.raises(BadInput, match="F, line 7: disk x: 'maybe' is none of true, false"):
        fields(x="maybe").flag("x", False)
    with pytest.raises(BadInput, match="disk x: '0' is no whole number of at least 1"):
        fields(x="0").number("x", lowest=1)
    addresses: list[Value] = [{"slot": {}}, {"slot": ""}, {"slot": "a=b"}, {"a b": "1"}]
    for address in addresses:
        with pytest.raises(BadInput, match="disk address: "):
            fields(address=address).address()
    with pytest.raises(BadInput, match="disk specParams: '1x' is no name"):
        fields(specParams={"1x": "1"}).spec_params()
    deep: Value = "1"
    for _ in range(12):
        deep = {"a": deep}
    with pytest.raises(BadInput, match="nested too deep"):
        fields(specParams=deep).spec_params()
    for name, value in (("a;b", "1"), ("a", "1;2"), ("", "1"), ("a=b", "1")):
        with pytest.raises(BadInput, match="can't be written to an OVF"):
            fields().check_property(name, value)


def test_keys_of_a_file_have_lines_of_their_own() -> None:
    found = ConfFields({"x": "y"}, what="", where="F", lines={"x": 3})
    with pytest.raises(BadInput, match="F, line 3: x: 'y' is no whole number"):
        found.number("x")
    assert str(found.bad("is missing", "z")) == "F: z: is missing"
    assert str(found.bad("is empty")) == "F: is empty"
