# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

from ha_agent.config.kinds import PORT
from ha_agent.config.schema import SECTIONS, Config, of


def test_sections_are_the_fields_of_config() -> None:
    fields = [field.name for field in dataclasses.fields(Config)]
    assert fields == [name.replace("-", "_") for name in SECTIONS] + [
        "origins",
        "files",
        "folders",
        "paths",
        "notes",
        "unread",
        "predecessor",
        "predecessor_ha_conf",
    ]


def test_every_default_is_a_value_that_its_kind_accepts() -> None:
    for name, section in SECTIONS.items():
        for key in dataclasses.fields(section):
            if key.default is not dataclasses.MISSING:
                default = key.default
            elif key.default_factory is not dataclasses.MISSING:
                default = key.default_factory()
            else:
                continue
            kind = key.metadata["kind"]
            again = kind.parse(kind.form(default))
            assert again == default, f"[{name}] {key.name}"
            assert type(again) is type(default), f"[{name}] {key.name}"


def test_a_key_with_a_default_is_not_derived() -> None:
    for section in SECTIONS.values():
        for key in dataclasses.fields(section):
            if key.metadata["derived"]:
                assert key.default is dataclasses.MISSING
                assert key.default_factory is dataclasses.MISSING


def test_of_gives_the_metadata_of_a_key() -> None:
    assert of(PORT) == {"kind": PORT, "derived": ""}
    assert of(PORT, derived="<x>")["derived"] == "<x>"
