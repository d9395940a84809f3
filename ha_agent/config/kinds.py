# SPDX-License-Identifier: Apache-2.0
"""The kinds of value that ha-agent.conf can hold: how each is read, checked and printed.

A kind knows one value and nothing of sections, keys or files: config/schema.py gives each
key its kind, config.py reads the files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Kind:
    """How the text of a value becomes a value and back.

    `expected` ends the sentence "expected ..."; `parse` raises ValueError for text that does
    not fit; `parse(form(value)) == value` for every value that `parse` can return.
    """

    expected: str
    parse: Callable[[str], Any]
    form: Callable[[Any], str] = str


# ASCII on purpose: int() and float() also take "1_000", "nan" and the digits of every script.
_WHOLE = re.compile(r"[0-9]{1,9}")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}")


def form_number(value: float) -> str:
    """Return a number as a person would write it: 3, not 3.0."""
    text = repr(value)
    return text[:-2] if text.endswith(".0") else text


def whole(low: int, high: int) -> Kind:
    """Return the kind of a whole number within bounds, both included."""

    def parse(text: str) -> int:
        if not _WHOLE.fullmatch(text) or not low <= int(text) <= high:
            raise ValueError(text)
        return int(text)

    return Kind(f"a whole number, {low} to {high}", parse)


def number(low: float, high: float, unit: str = "a number") -> Kind:
    """Return the kind of a number within bounds, both included."""

    def parse(text: str) -> float:
        if not _NUMBER.fullmatch(text) or not low <= float(text) <= high:
            raise ValueError(text)
        return float(text)

    return Kind(f"{unit}, {form_number(low)} to {form_number(high)}", parse, form_number)


def seconds(low: float, high: float) -> Kind:
    """Return the kind of a duration in seconds within bounds, both included."""
    return number(low, high, "seconds")


def choice(*names: str) -> Kind:
    """Return the kind of one word out of `names`."""

    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(text)
        return text

    return Kind("one of " + ", ".join(names), parse)


def list_of(kind: Kind) -> Kind:
    """Return the kind of a comma-separated list, read as a tuple; at least one element."""

    def parse(text: str) -> tuple[Any, ...]:
        return tuple(kind.parse(part.strip()) for part in text.split(","))

    def form(values: tuple[Any, ...]) -> str:
        return ", ".join(kind.form(value) for value in values)

    return Kind(f"a comma-separated list, each {kind.expected}", parse, form)


def optional_list_of(kind: Kind) -> Kind:
    """Return the kind of a comma-separated list that may be empty, read as a tuple."""
    filled = list_of(kind)
    expected = f"{filled.expected}, or nothing"
    return Kind(expected, lambda text: filled.parse(text) if text else (), filled.form)


def _parse_bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


def _parse_path(text: str) -> Path:
    if not text.startswith("/"):
        raise ValueError(text)
    return Path(text)


def _parse_optional_path(text: str) -> Optional[Path]:
    return _parse_path(text) if text else None


def _parse_uuid(text: str) -> str:
    if not _UUID.fullmatch(text.lower()):
        raise ValueError(text)
    return text.lower()


def _parse_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(text)
    return text


def _parse_optional_name(text: str) -> str:
    return _parse_name(text) if text else ""


def _parse_address(text: str) -> str:
    # Colons and the percent sign: IPv6, with its zone.
    if not re.fullmatch(r"[A-Za-z0-9._:%-]{1,255}", text):
        raise ValueError(text)
    return text


def _parse_optional_address(text: str) -> str:
    return _parse_address(text) if text else ""


def _parse_url(text: str) -> str:
    parts = urlsplit(text)
    # Reading .port is what makes urlsplit check it; it raises ValueError.
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError(text)
    if parts.username is not None or not re.fullmatch(r"[!-~]+", text):
        raise ValueError(text)
    return text


def _parse_program(text: str) -> str:
    # A name is looked for in PATH; anything with a slash in it has to be a whole path.
    return str(_parse_path(text)) if "/" in text else _parse_name(text)


def _parse_optional_url(text: str) -> str:
    return _parse_url(text) if text else ""


def _parse_mail_address(text: str) -> str:
    local, _, domain = text.rpartition("@")
    ok = re.fullmatch(r"[A-Za-z0-9._%+=-]{1,64}", local) and ".." not in local
    if not ok or local.startswith(".") or local.endswith("."):
        raise ValueError(text)
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", domain):
        raise ValueError(text)
    return text


def _parse_optional_text(text: str) -> str:
    if len(text) > 255:
        raise ValueError(text)
    return text


def _parse_mode(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError(text)
    return int(text, 8)


def _parse_networks(text: str) -> Mapping[str, str]:
    networks: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, colon, backend = (piece.strip() for piece in part.partition(":"))
        if not colon or not backend or name in networks:
            raise ValueError(text)
        networks[_parse_name(name)] = backend
    return networks


def _form_networks(networks: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {backend}" for name, backend in networks.items())


BOOL = Kind("true or false", _parse_bool, lambda value: "true" if value else "false")
PATH = Kind("an absolute path", _parse_path)
OPTIONAL_PATH = Kind("an absolute path, or nothing", _parse_optional_path, lambda p: str(p or ""))
UUID = Kind("a UUID, such as 35aecb25-6470-45d0-b1fb-c4a1b0f2a0a1", _parse_uuid)
NAME = Kind("a name of letters, digits, '.', '_' and '-'", _parse_name)
OPTIONAL_NAME = Kind(f"{NAME.expected}, or nothing", _parse_optional_name)
ADDRESS = Kind("a host name or an IP address", _parse_address)
OPTIONAL_ADDRESS = Kind(f"{ADDRESS.expected}, or nothing", _parse_optional_address)
URL = Kind("an http or https URL with a host and without a password", _parse_url)
OPTIONAL_URL = Kind(f"{URL.expected}, or nothing", _parse_optional_url)
MAIL_ADDRESS = Kind("an e-mail address, such as admins@example.org", _parse_mail_address)
OPTIONAL_MAIL_ADDRESS = Kind(
    f"{MAIL_ADDRESS.expected}, or nothing",
    lambda text: _parse_mail_address(text) if text else "",
)
OPTIONAL_TEXT = Kind("a text of at most 255 characters, or nothing", _parse_optional_text)
MODE = Kind("file permissions in octal, such as 0660", _parse_mode, "{:04o}".format)
NETWORKS = Kind(
    "'name: back end' pairs separated by ';', each name once", _parse_networks, _form_networks
)
PROGRAM = Kind("the name or the absolute path of a program", _parse_program)
PORT = whole(1, 65535)
OPTIONAL_PORT = Kind(
    f"{PORT.expected}, or nothing",
    lambda text: PORT.parse(text) if text else None,
    lambda value: "" if value is None else str(value),
)
POINTS = whole(0, 100000)
INTERVAL = seconds(0.05, 3600)
DEADLINE = seconds(0.05, 600)
