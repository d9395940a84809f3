# SPDX-License-Identifier: Apache-2.0
"""A VmDefinition as JSON, for people and programs that ask what a definition says.

It is a view, not a store: nothing reads it back. Every field of the model is in it, under the
model's own name, which has the unit in it; so a field that is added to the model shows up here.

    a value of the engine's enums   its name in codes.py, as Q35_SEA_BIOS
    names with values (Pairs)       a list of {"name": ..., "value": ...}, in order, since a name
                                    may occur twice
    what the definition does not say   null

`format` comes first; its number grows when a key is renamed, removed or means something else.
Some figures that the model works out stand beside the fields: `vcpus`, `is_q35`.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from typing import Any

from ha_agent.ovfstore.model import VmDefinition

FORMAT = "ha-agent-vm-definition/1"


def definition_as_dict(vm: VmDefinition) -> dict[str, Any]:
    """Return the definition as dicts, lists, texts, numbers, truths and None."""
    return {"format": FORMAT, **_fields(vm), "vcpus": vm.vcpus, "is_q35": vm.is_q35}


def definition_as_json(vm: VmDefinition) -> str:
    """Return the definition as JSON text, indented, non-ASCII letters as they are, no line end."""
    return json.dumps(definition_as_dict(vm), indent=2, ensure_ascii=False)


def _fields(item: Any) -> dict[str, Any]:
    """Return a dataclass of the model; a field's annotation tells names with values from lists."""
    values = {}
    for field in dataclasses.fields(item):
        value = getattr(item, field.name)
        if field.type == "Pairs":
            values[field.name] = [{"name": name, "value": text} for name, text in value]
        else:
            values[field.name] = _plain(value)
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value):
        return _fields(value)
    if value is None or isinstance(value, (str, int, bool)):
        return value
    raise TypeError(f"a definition holds a {type(value).__name__}, which JSON has not")
