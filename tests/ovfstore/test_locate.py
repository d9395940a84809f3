# SPDX-License-Identifier: Apache-2.0
"""Volume descriptions, and which copy of the OVF_STORE comes first."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.errors import BadInput
from ha_agent.instant import WallTime
from ha_agent.ovfstore.locate import (
    StoreCopy,
    format_description,
    java_date_text,
    order_copies,
    parse_description,
    parse_java_date,
)

DOMAIN = "c1aa7a4e-0000-4000-8000-00000000005d"
NEVER = (
    '{"Updated":false,"Last Updated":null,"Storage Domains":[{"uuid":"' + DOMAIN + '"}],'
    '"Disk Description":"OVF_STORE"}'
)
FAILED = NEVER.replace("null", '"Wed Jul 01 11:18:33 IDT 2020"')
GOOD = (
    '{"Updated":true,"Size":22528,"Last Updated":"Wed Jul 01 11:43:07 IDT 2020",'
    '"Storage Domains":[{"uuid":"' + DOMAIN + '"}],"Disk Description":"OVF_STORE"}'
)


def copy(volume: str, description: str) -> StoreCopy:
    return StoreCopy(image_uuid=f"image of {volume}", volume_uuid=volume, description=description)


def good(date: str = "Wed Jul 01 11:43:07 IDT 2020", size_bytes: int = 22528) -> str:
    return format_description(
        storage_domain_uuid=DOMAIN, updated=True, last_updated_text=date, size_bytes=size_bytes
    )


def test_the_three_forms_of_the_engine_are_read_and_written() -> None:
    whole = parse_description(GOOD, where="x")
    assert (whole.updated, whole.size_bytes) == (True, 22528)
    assert whole.last_updated == (2020, 7, 1, 11, 43, 7)
    assert whole.storage_domain_uuids == (DOMAIN,)
    assert good() == GOOD
    failed = parse_description(FAILED, where="x")
    assert (failed.updated, failed.size_bytes) == (False, None)
    assert failed.last_updated == (2020, 7, 1, 11, 18, 33)
    for text, date in ((NEVER, None), (FAILED, "Wed Jul 01 11:18:33 IDT 2020")):
        assert text == format_description(
            storage_domain_uuid=DOMAIN, updated=False, last_updated_text=date
        )


def test_a_new_disk_with_the_ordinary_description_is_a_store_never_written() -> None:
    text = '{"DiskAlias":"OVF_STORE","DiskDescription":"OVF_STORE"}'
    description = parse_description(text, where="x")
    assert not description.updated
    assert description.last_updated is None
    assert order_copies([copy("a", text)])[0].reason == "volume a: never written"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 3000, "not JSON"),
        ("[]", "not a JSON object"),
        ('{"Size":' + "9" * 4100, "description of"),
        ('{"DiskDescription":"hosted-engine.lockspace"}', "'Disk Description' is None"),
        (GOOD.replace("true", '"true"'), "'Updated'"),
        (GOOD.replace("22528", "-1"), "'Size'"),
        (GOOD.replace("22528", "true"), "'Size'"),
        (GOOD.replace("22528", "2e4"), "'Size'"),
        (GOOD.replace("Wed Jul 01", "01 Jul Wed"), "not a Java date"),
        (GOOD.replace("Jul 01", "Jul 32"), "not a date"),
        (GOOD.replace("Jul 01", "Foo 01"), "not a Java date"),
        (GOOD.replace('"Wed Jul 01 11:43:07 IDT 2020"', "7"), "not a text"),
        (GOOD.replace('[{"uuid"', '[{"id"'), "without 'uuid'"),
        (GOOD.replace('[{"uuid":"' + DOMAIN + '"}]', "null"), "'Storage Domains'"),
        (GOOD[:210], "OVF_STORE") if len(GOOD) > 210 else (GOOD[:-1], "not JSON"),
    ],
)
def test_bad_descriptions_say_what_is_wrong(text: str, expected: str) -> None:
    with pytest.raises(BadInput, match=expected) as caught:
        parse_description(text, where="volume abc")
    assert str(caught.value).startswith("volume abc: ")


def test_zones_are_not_trusted() -> None:
    dates = [f"Wed Jul 01 11:43:07 {zone} 2020" for zone in ("IDT", "IST", "CEST", "GMT+03:00")]
    assert len({parse_java_date(date, where="x") for date in dates}) == 1


def test_a_date_is_written_as_java_writes_it() -> None:
    assert java_date_text(WallTime(1795324583.0)) == "Sun Nov 22 05:16:23 UTC 2026"
    assert java_date_text(WallTime(1593561600.9)) == "Wed Jul 01 00:00:00 UTC 2020"


@given(st.integers(min_value=0, max_value=4_000_000_000))
def test_a_later_time_sorts_later(unix_seconds: int) -> None:
    early = parse_java_date(java_date_text(WallTime(float(unix_seconds))), where="x")
    late = parse_java_date(java_date_text(WallTime(float(unix_seconds + 1))), where="x")
    assert early < late


def test_updated_comes_before_newest_before_largest() -> None:
    newest = copy("newest", good("Thu Jul 02 00:00:00 IDT 2020", 1024))
    larger = copy("larger", good(size_bytes=4096))
    smaller = copy("smaller", good(size_bytes=2048))
    writing = copy("writing", FAILED.replace("2020", "2030"))
    never = copy("never", NEVER)
    order = order_copies([never, smaller, writing, newest, larger], storage_domain_uuid=DOMAIN)
    assert [item.copy.volume_uuid for item in order] == [
        "newest",
        "larger",
        "smaller",
        "writing",
        "never",
    ]
    assert [item.usable for item in order] == [True, True, True, False, False]
    assert "being written" in order[3].reason
    assert "never written" in order[4].reason


def test_every_host_chooses_the_same_of_two_equal_copies() -> None:
    both = [copy("a", good()), copy("b", good())]
    assert order_copies(both)[0] == order_copies(both[::-1])[0]


def test_unusable_copies_say_why() -> None:
    without_size = json.dumps({**json.loads(GOOD), "Size": None})
    reasons = [
        item.reason
        for item in order_copies(
            [copy("v", good()), copy("v", "garbage"), copy("v", without_size)],
            storage_domain_uuid="another domain",
        )
    ]
    assert any("belongs to other storage domains" in reason for reason in reasons)
    assert any("not JSON" in reason for reason in reasons)
    assert any("without 'Size'" in reason for reason in reasons)
    assert order_copies([]) == []


def test_a_size_belongs_to_an_updated_copy_only() -> None:
    with pytest.raises(ValueError, match="has a size"):
        format_description(
            storage_domain_uuid=DOMAIN, updated=False, last_updated_text=None, size_bytes=1
        )


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    ranked = order_copies([copy("v", text)])
    assert not ranked[0].usable
