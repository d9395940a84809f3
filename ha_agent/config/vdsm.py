# SPDX-License-Identifier: Apache-2.0
"""What this host's own VDSM says of its port and of TLS, where ha-agent.conf's [vdsm] does not.

It is a layer of the configuration, above the predecessor's `vdsm_use_ssl` and below all that is
said in our own words (config/legacy.py).

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
from typing import Optional

from ha_agent.config.file import Entry

_FILE = Path("etc/vdsm/vdsm.conf")
_DROP_IN_FOLDERS = tuple(Path(f"{base}/vdsm/vdsm.conf.d") for base in ("usr/lib", "run", "etc"))
_MAX_BYTES = 1 << 20
# Our key, and the section and key in VDSM's files.
KEYS = {"vdsm.port": ("addresses", "management_port"), "vdsm.ssl": ("vars", "ssl")}
# As configparser's getboolean, which VDSM uses.
_BOOLEANS = {
    **dict.fromkeys(("1", "yes", "true", "on"), "true"),
    **dict.fromkeys(("0", "no", "false", "off"), "false"),
}


def entries(root: Path, unread: list[str]) -> list[Entry]:
    """Return what VDSM's files below `root` say; what can't be read is told in `unread`."""
    names = {place: name for name, place in KEYS.items()}
    found = []
    for path in (root / _FILE, *_drop_ins(root, unread)):
        text = _read(path, unread) or ""
        for section, key, value, line in _entries(text):
            name = names.get((section, key))
            if name is None:
                continue
            ours, _, our_key = name.partition(".")
            if our_key == "ssl":
                value = _BOOLEANS.get(value.lower(), value)
            found.append(Entry(ours, our_key, value, f"{path}:{line}", key))
    return found


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
