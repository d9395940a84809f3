# SPDX-License-Identifier: Apache-2.0
"""docs/predecessor-files.md, made from the rows of legacy_keys.py. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ha_agent.compat.legacy_keys import FILES, HOSTED_ENGINE, KEYS, OWN_PREFIX, LegacyKey

_HEAD = f"""\
# The predecessor's files

Made by `make diagram` from ha_agent/compat/legacy_keys.py. `ha-agent config show --predecessor`
lists the keys of this host's files in the same way, with what counts in their place.

A value is from the highest of these that gives one; `ha-agent config show` prints file and line:

1. `/etc/ha-agent/ha-agent.conf`, and `ha-agent.conf.d/*.conf` over it: of this host alone
2. `{OWN_PREFIX}<section>_<key>=value` in hosted-engine.conf: our settings that all hosts share
3. VDSM's own files: `[vdsm] port` and `ssl`
4. hosted-engine.conf, agent.conf and broker.conf, key by key as below
5. our defaults

Where hosted-engine.conf is there, ha-agent.conf need not be. Without hosted-engine.conf the other
files of the predecessor count for nothing. `[storage] hosted_engine_conf` in ha-agent.conf names
it, where it is elsewhere; set to nothing, none of these files is read.

Blanks can't be in the value of an `{OWN_PREFIX}...` (a list is `a,b`), nor characters that mean
something to a shell, as scripts source the file; such a setting goes into ha-agent.conf. An
unknown key that begins so is an error. `[host] id`, `[host] name` and `[storage]
hosted_engine_conf` can't be given so: all hosts would have the same. Nor can `[vdsm-server]`:
ha-vdsm is root, and obeys no file that the daemons may write. An unknown key of another name is
noted, and left alone.

A line that is not key=value, a key that is there twice, a value that can't be one, text that is
not UTF-8: each is an error with file and line, and nothing starts. `None` and a blank value are no
value. A file that this user may not read is noted, and is an error where a value is missing then.
`ha-agent config check` prints all of it. With HA_AGENT_HOST_ROOT in the environment all these
files are looked for below that directory, such as a host's root that is mounted for repair.
"""


def document() -> str:
    """Return the text of docs/predecessor-files.md."""
    blocks = [_HEAD]
    for file, places in FILES.items():
        rows = [row for row in KEYS if row.file == file]
        paths = ", or else ".join(f"`{place}`" for place in places)
        blocks.append(f"## {file}\n\n{paths}{_also(file)}\n\n{_table(rows)}")
    return "\n".join(blocks)


def _also(file: str) -> str:
    return ", and in the configuration volume" if file == HOSTED_ENGINE else ""


def _table(rows: Iterable[LegacyKey]) -> str:
    lines = ["| key | ours | remark |", "|---|---|---|"]
    for row in rows:
        ours = ", ".join(f"[{key.replace('.', '] ', 1)}" for key, _ in row.becomes)
        remark = row.what if row.used else f"**not used**: {row.what}"
        lines.append(f"| {row.name} | {ours} | {remark.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"
