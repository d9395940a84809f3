# SPDX-License-Identifier: Apache-2.0
"""What this host's own VDSM says of its port and of TLS, where ha-agent.conf's [vdsm] does not.

For each of `port` and `ssl`, the first that says it:

    1. ha-agent.conf                      then VDSM's files are not looked at
    2. VDSM's configuration               [addresses] management_port, [vars] ssl
    3. hosted-engine.conf, vdsm_use_ssl   what the predecessor's set-up wrote; `ssl` only
    4. our default, which is VDSM's       54321, true

VDSM's configuration (vdsm's lib/vdsm/common/config.py.in, facts 1.1) is /etc/vdsm/vdsm.conf, then
the `*.conf` of /usr/lib/vdsm/vdsm.conf.d, /run/vdsm/vdsm.conf.d and /etc/vdsm/vdsm.conf.d, all
sorted by their names without the folder; what is read later overrides. The format is that of
Python's configparser. The paths of VDSM's certificates are no matter of configuration
(lib/vdsm/common/pki.py): they are the defaults of our keys.

A value that can't be one is a fault, with file and line. A file that can't be read, or is of no
use as a whole, is none, as whoever may not read it may still ask the daemons: the value's origin
tells it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Optional

from ha_agent.compat import hosted_engine_conf
from ha_agent.config_kinds import BOOL, PORT
from ha_agent.errors import BadInput

_FILE = Path("etc/vdsm/vdsm.conf")
_DROP_IN_FOLDERS = tuple(Path(f"{base}/vdsm/vdsm.conf.d") for base in ("usr/lib", "run", "etc"))
_HOSTED_ENGINE_CONF = Path("/etc/ovirt-hosted-engine/hosted-engine.conf")
_MAX_BYTES = 1 << 20
# Our key, and the section and key in VDSM's files.
_KEYS = {"vdsm.port": ("addresses", "management_port"), "vdsm.ssl": ("vars", "ssl")}
_KINDS = {"vdsm.port": PORT, "vdsm.ssl": BOOL}
_USE_SSL = "vdsm_use_ssl"
# As configparser's getboolean, which VDSM uses.
_BOOLEANS = {
    **dict.fromkeys(("1", "yes", "true", "on"), "true"),
    **dict.fromkeys(("0", "no", "false", "off"), "false"),
}


class _Found(NamedTuple):
    key: str
    text: str
    where: str


def take(values: dict[str, Any], origins: dict[str, str], root: Path) -> Iterator[tuple[str, str]]:
    """Put what VDSM's files below `root` say into the values that nobody gave, with its origin.

    Yields faults, as (where, what).
    """
    wanted = [name for name in _KEYS if origins.get(name) == "default"]
    if not wanted:
        return
    unread: list[str] = []
    found = _vdsm_conf(root, unread)
    if "vdsm.ssl" in wanted and "vdsm.ssl" not in found:
        path = values.get("storage.hosted_engine_conf", _HOSTED_ENGINE_CONF)
        use_ssl = None if path is None else _use_ssl(root / path.relative_to("/"), unread)
        if use_ssl is not None:
            found["vdsm.ssl"] = use_ssl
    for name in wanted:
        one, kind = found.get(name), _KINDS[name]
        if one is None:
            origins[name] = "; ".join(["default", *unread])
            continue
        text = one.text
        if kind is BOOL:
            text = _BOOLEANS.get(text.lower(), text)
        try:
            values[name], origins[name] = kind.parse(text), one.where
        except ValueError:
            yield one.where, f"{one.key} = {one.text[:80]}: expected {kind.expected}"


def _vdsm_conf(root: Path, unread: list[str]) -> dict[str, _Found]:
    """Return what VDSM's files say, by our keys."""
    names = {place: name for name, place in _KEYS.items()}
    found: dict[str, _Found] = {}
    for path in (root / _FILE, *_drop_ins(root, unread)):
        text = _read(path, unread) or ""
        for section, key, value, line in _entries(text):
            if (section, key) in names:
                found[names[section, key]] = _Found(key, value, f"{path}:{line}")
    return found


def _use_ssl(path: Path, unread: list[str]) -> Optional[_Found]:
    text = _read(path, unread)
    if text is None:
        return None
    try:
        conf = hosted_engine_conf.parse(text, str(path))
    except BadInput as fault:
        unread.append(str(fault))
        return None
    value = conf.values.get(_USE_SSL, "")
    return _Found(_USE_SSL, value, f"{path}:{conf.lines[_USE_SSL]}") if value else None


def _drop_ins(root: Path, unread: list[str]) -> list[Path]:
    files: list[Path] = []
    for folder in _DROP_IN_FOLDERS:
        try:
            # As glob's "*.conf", which takes no hidden files.
            files += [
                path
                for path in (root / folder).iterdir()
                if path.suffix == ".conf" and not path.name.startswith(".")
            ]
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            unread.append(f"{root / folder} can't be read: {error.strerror}")
    return sorted(files, key=lambda path: path.name)


def _read(path: Path, unread: list[str]) -> Optional[str]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        unread.append(f"{path} can't be read: {error.strerror}")
        return None
    if len(data) > _MAX_BYTES:
        unread.append(f"{path} is larger than 1 MiB")
        return None
    return data.decode("utf-8", "replace")


def _entries(text: str) -> Iterator[tuple[str, str, str, int]]:
    """Yield section, key, value and line as configparser reads them.

    A line that is further in than the key above it goes on with that key's value: it is no key.
    """
    section, key_indent = "", -1
    for line, raw in enumerate(text.splitlines(), start=1):
        content = raw.strip()
        indent = len(raw) - len(raw.lstrip())
        if not content or content[0] in "#;" or 0 <= key_indent < indent:
            continue
        if content.startswith("[") and "]" in content:
            section, key_indent = content[1 : content.rindex("]")], -1
            continue
        place = min((at for at in map(content.find, "=:") if at > 0), default=0)
        if place:
            key_indent = indent
            yield section, content[:place].strip().lower(), content[place + 1 :].strip(), line
