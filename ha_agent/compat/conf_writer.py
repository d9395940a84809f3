# SPDX-License-Identifier: Apache-2.0
"""Write the predecessor's files: hosted-engine.conf, and broker.conf and agent.conf.

What a change does not name stays as it is, byte for byte: comments, order, blank lines, keys
that we don't know, the way lines end. A key that is there has its line replaced; a new one is
put at the end (of its section). `None` as a key's value takes the line out.

hosted-engine.conf is sourced by bash, and read by programs that take no quotes off
(facts/ovf-and-volumes.md, 4.1). So a value can't be quoted, and one that bash would read as
anything but itself is refused, by its key's name: the value may be a password.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Optional

from ha_agent.atomic_file import replace_file
from ha_agent.compat import hosted_engine_conf, ini_conf
from ha_agent.errors import BadInput, EnvironmentFault

__all__ = ["new_hosted_engine_conf", "set_ini_keys", "set_keys", "shell_safe", "write_conf"]

Changes = Mapping[str, Optional[str]]

# In `name=word` bash splits no words and expands no file names and no braces. So of what can be
# typed only blanks, quotes, $ ` \ ~ and the operators ; & | < > ( ) mean something else.
_SAFE = re.compile(r"[A-Za-z0-9_./:@%+,=\-\[\]{}*?!^#]*")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INI_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def shell_safe(value: str) -> bool:
    """Tell whether bash that sources `key=value` gets just `value`."""
    return _SAFE.fullmatch(value) is not None


def set_keys(text: str, changes: Changes, *, where: str) -> str:
    """Return the text of a hosted-engine.conf with `changes` made. `where` names it in errors.

    Raises BadInput: the text is none of a hosted-engine.conf; a key is no shell name; a value
    is not safe for the shell.
    """
    conf = hosted_engine_conf.parse(text, where)
    lines = text.split("\n")
    gone = set()
    new = []
    for key, value in changes.items():
        _check(key, value, where)
        number = conf.lines.get(key)
        if number is None:
            new += [] if value is None else [f"{key}={value}"]
        elif value is None:
            gone.add(number - 1)
        else:
            lines[number - 1] = f"{key}={value}{_ending(lines[number - 1])}"
    return _made(lines, gone, {len(lines): new})


def new_hosted_engine_conf(values: Mapping[str, str]) -> str:
    """Return the text of a hosted-engine.conf with `values`, in their order. Raises BadInput."""
    return set_keys("", values, where="hosted-engine.conf")


def set_ini_keys(
    text: str, changes: Mapping[tuple[str, str], Optional[str]], *, where: str
) -> str:
    """Return the text of a broker.conf or agent.conf with `changes`, by section and key, made.

    The empty text makes a new file. Raises BadInput: the text is none; a name can't be one; a
    value is not one line of plain text.
    """
    conf = ini_conf.parse(text, where)
    lines = text.split("\n")
    gone: set[int] = set()
    new: dict[str, list[str]] = {}
    for (section, key), value in changes.items():
        if not _INI_NAME.fullmatch(section) or not _INI_NAME.fullmatch(key):
            raise BadInput(f"[{section[:60]}] {key[:60]!r} is no name of a key", where=where)
        if value is not None and (value != value.strip() or not value.isprintable()):
            raise BadInput(f"[{section}] {key}: must be one line of plain text", where=where)
        old = conf.values.get((section, key.lower()))
        line = "" if value is None else f"{key} = {value.replace('%', '%%')}"
        if old is None:
            new.setdefault(section, []).extend([line] if line else [])
            continue
        gone.update(range(old.line - 1 if value is None else old.line, old.last_line))
        if line:
            lines[old.line - 1] = f"{line}{_ending(lines[old.line - 1])}"
    inserts: dict[int, list[str]] = {}
    for section, added in new.items():
        if section in conf.sections:
            inserts.setdefault(conf.sections[section], [])[:0] = added
        elif added:
            inserts.setdefault(len(lines), []).extend([f"[{section}]", *added])
    return _made(lines, gone, inserts)


def write_conf(
    path: Path, text: str, *, mode: int = 0o640, owner: Optional[tuple[int, int]] = None
) -> None:
    """Replace a file in one piece; mode and owner stay those of the file that is there, and so
    does a link to it (root follows only its own). Only root's file becomes `owner`'s: the daemons
    read it, and are not root. Who is not root may give nothing away, and then it is theirs.

    A new one gets `mode`, which has no access for others, as a password may be in it, and
    `owner`, user and group id (None: of this process). When this returns, it is on the disk.
    Blocks for a write to the local disk. Raises EnvironmentFault, and then the old file is as
    it was.
    """
    try:
        _refuse_others_link(path)
        path = Path(os.path.realpath(path))
        try:
            there = path.stat()
        except FileNotFoundError:
            pass
        else:
            mode = stat.S_IMODE(there.st_mode)
            if owner is None or there.st_uid != 0:
                owner = (there.st_uid, there.st_gid) if os.geteuid() == 0 else None
        replace_file(path, text.encode(), mode=mode, owner=owner)
    except OSError as error:
        raise EnvironmentFault(f"{path}: can't be written: {error.strerror}") from error


def _refuse_others_link(path: Path) -> None:
    """The daemons' user may make links where these files are, and to what only root may write."""
    if os.geteuid() == 0 and path.is_symlink():
        uid = path.lstat().st_uid
        if uid != 0:
            raise EnvironmentFault(
                f"{path}: is a link of user {uid} to {os.readlink(path)}, which root does not"
                f" follow; if you want it: chown -h root {path}"
            )


def _check(key: str, value: Optional[str], where: str) -> None:
    if not _KEY.fullmatch(key):
        raise BadInput(f"{key[:60]!r} is no name of a shell variable", where=where)
    if value is not None and not shell_safe(value):
        told = "has blanks or characters that mean something to the shell, which sources the file"
        raise BadInput(f"{key}: {told}", where=where)


def _ending(line: str) -> str:
    return "\r" if line.endswith("\r") else ""


def _made(lines: list[str], gone: Iterable[int], inserts: Mapping[int, list[str]]) -> str:
    """Return the text of `lines` without those `gone`, and with `inserts` before their places."""
    ending = _ending(lines[0])
    left_out = set(gone)
    made: list[str] = []
    end = len(lines)
    for number, line in enumerate(lines):
        made += [f"{new}{ending}" for new in inserts.get(number, ())]
        if number not in left_out:
            made.append(line)
    appended = [f"{new}{ending}" for new in inserts.get(end, ())]
    if appended:
        # The last line is empty where the text ends with a line break, as it should.
        if made and not made[-1]:
            made.pop()
        elif made and ending and not made[-1].endswith(ending):
            made[-1] += ending
        made += [*appended, ""]
    return "\n".join(made)
