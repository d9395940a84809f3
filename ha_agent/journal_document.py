# SPDX-License-Identifier: Apache-2.0
"""The journal's messages as systemd's catalog and as a document for people. Pure.

The catalog's format (systemd's "Message Catalogs"): for each message a line `-- <id>`, headers, an
empty line, and text, with `@FIELD@` for fields of the record.
"""

from __future__ import annotations

import textwrap

from ha_agent.journal_messages import MESSAGES, Message

_DOCUMENTS = "file:///usr/share/doc/ha-agent/"
_WIDTH = 76

_FIELDS = (
    ("MESSAGE_ID", "what kind of event it is; the table below"),
    ("HA_HOST_ID", "this host's id; on every record"),
    ("HA_VM_ID", "the engine VM's id; on every record"),
    ("HA_STATE", "the agent's state; on every record of the agent"),
    ("HA_PREV_STATE", "the state before, on a change"),
    ("HA_REASON", "why"),
    ("HA_SCORE", "this host's score, 3400 is best; on every record of the agent"),
    ("HA_EPOCH", "the lease's epoch, raised by each take; on every record"),
    ("HA_INCIDENT", "the open incidents' numbers, with commas; on every record while one is open"),
    ("HA_EFFECT", "what the agent asked for"),
    ("HA_PEER", "VDSM's or libvirt's address"),
    ("HA_KIND, HA_SEVERITY, HA_TITLE", "of an incident"),
)

_HEAD = """# The journal

Made by `scripts/make_catalog.py` from `ha_agent/journal_messages.py`; don't edit it.

Agent, broker and embedded VDSM log to the journal, with fields of their own. `journalctl -x` tells
for each event below what happened, what ha-agent does about it, and what is left to do.

```
journalctl -u ha-agent -u ha-broker -b                all of it, since the host was started
journalctl -x -u ha-agent -u ha-broker --since -1h    with explanations
journalctl MESSAGE_ID={state}
                                                      one kind of event: changes of state
journalctl HA_STATE=EngineUp                          what the agent said in that state
journalctl HA_INCIDENT=2-1763866800                   what was said while an incident was open
journalctl HA_EPOCH=7 + _SYSTEMD_UNIT=sanlock.service one ownership, beside sanlock's words
journalctl -t ha-fence-guard                          what the guard did
journalctl -u ha-agent -o json --output-fields=MESSAGE,HA_STATE,HA_SCORE,HA_REASON
```

`ha-agent events` is the short form of the same story, from all hosts' sight.

## Fields

| field | meaning |
|---|---|
{fields}

## Messages

| message | `MESSAGE_ID` | subject |
|---|---|---|
{messages}

## What it never does

A record never waits. Records go to journald's socket without blocking; what journald does not
take (it is stopped, restarting, or its disk is full) is kept up to 1 MiB and sent when it does,
and what is over that is counted and told (`RECORDS_LOST`). Messages are cut at 64 KiB, fields at
2 KiB. The same message within a minute is counted, and the count told with the next one; but
changes of state, of the VM and of the lease, and incidents are all told.

libsystemd's `sd_journal_send` blocks in that case, and systemd-python holds the interpreter's lock
meanwhile: with a stopped journald the whole process stands still after as many records as the
socket's queue takes. That is why the daemons write the journal's native protocol themselves.

The guard (`ha-fence-guard`) writes to `/run/ha-agent/fence.log`, and tries the journal once for
each line, after the deed, without waiting. Storage workers have the broker's standard error.

Without a journal (no systemd) records go to standard error, a line each.

## Files beside the journal

sos and oVirt's log collector take `agent.log` and `broker.log` in
`/var/log/ovirt-hosted-engine-ha`. With

```
[log]
folder = /var/log/ovirt-hosted-engine-ha
```

each daemon also writes its records there, as lines (`agent.log`, `broker.log`, `vdsm.log`, mode
0640). The folder has to be there and belong to the daemons' user. The package
`ha-agent-hosted-engine` brings all of it: the key (`conf/10-predecessor-logs.conf`), the folder,
and `conf/ovirt-hosted-engine-ha.logrotate`; files are opened anew when they were moved. A disk
that is full or hangs costs these lines, which are counted, and nothing else.
"""


def catalog() -> str:
    """Return systemd/ha-agent.catalog."""
    head = (
        "# SPDX-License-Identifier: Apache-2.0\n"
        "# Made by scripts/make_catalog.py from ha_agent/journal_messages.py; don't edit it.\n"
    )
    return head + "".join(f"\n{_entry(message)}" for message in _declared())


def document() -> str:
    """Return docs/journal.md."""
    names = {message.id: name for name, message in MESSAGES.items()}
    rows = (
        f"| {names[message.id]} | `{message.id}` | {_linked(message)} |" for message in _declared()
    )
    return _HEAD.format(
        state=MESSAGES["STATE_CHANGED"].id,
        fields="\n".join(f"| {name} | {meaning} |" for name, meaning in _FIELDS),
        messages="\n".join(rows),
    )


def _declared() -> list[Message]:
    return list(MESSAGES.values())


def _entry(message: Message) -> str:
    lines = [f"-- {message.id}", f"Subject: {message.subject}", "Defined-By: ha-agent"]
    if message.guide:
        lines.append(f"Documentation: {_DOCUMENTS}{_path(message)}")
    for paragraph in (message.what, message.we, message.you):
        lines += ["", *_wrapped(paragraph)]
    return "\n".join(lines) + "\n"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _path(message: Message) -> str:
    return f"docs/{message.guide}"


def _linked(message: Message) -> str:
    return f"[{message.subject}]({message.guide})" if message.guide else message.subject
