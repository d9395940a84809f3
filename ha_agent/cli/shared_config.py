# SPDX-License-Identifier: Apache-2.0
"""`ha-agent shared-config`: the files that all hosts share in the configuration volume.

    ha-agent shared-config list | get FILE | put FILE PATH
    ha-agent shared-config keys | get-key KEY | set-key KEY VALUE  [--store STORE]

Whole files, and single keys, as the predecessor's `hosted-engine --get-shared-config` and
`--set-shared-config` have them; two of its four stores, he_local and ha, are this host's own
(compat/shared_config.py).
"""

from __future__ import annotations

import sys

from ha_agent.cli import documents
from ha_agent.cli.command import DONE, Command, Verbs, fail
from ha_agent.cli.ovf import printable
from ha_agent.compat.shared_config import STORES
from ha_agent.errors import BadInput

_SECONDS = 60.0
# All five files together have less room; how much, the broker says.
_FILE_LIMIT_BYTES = 64 * 1024


def add(verbs: Verbs) -> None:
    """Add `shared-config` with its verbs."""
    group = verbs.group("shared-config", "the files in the hosted engine's configuration volume")
    group.asking("list", "names and sizes", _list, timeout_seconds=_SECONDS)
    get = group.asking("get", "write a file to stdout", _get, timeout_seconds=_SECONDS)
    get.add_argument("name", help="such as hosted-engine.conf")
    put = group.asking(
        "put", "replace a file, on storage, at once", _put, timeout_seconds=_SECONDS
    )
    put.add_argument("name", help="such as hosted-engine.conf")
    put.add_argument("file", metavar="FILE", help="its new content; - is stdin")
    keys = group.asking("keys", "names of the keys in each store", _keys, timeout_seconds=_SECONDS)
    get_key = group.asking("get-key", "print a key's value", _get_key, timeout_seconds=_SECONDS)
    set_key = group.asking(
        "set-key", "set a key, and leave all others", _set_key, timeout_seconds=_SECONDS
    )
    for parser in (get_key, set_key):
        parser.add_argument("key", help="such as gateway; of broker.conf email.smtp-server")
    set_key.add_argument("value", help="one line; - is the first line of stdin")
    for parser in (keys, get_key, set_key):
        parser.add_argument("--store", choices=STORES, help="default: the one that has the key")


def _list(command: Command) -> int:
    _print(command.ask_map("conf.list"))
    return DONE


def _get(command: Command) -> int:
    content = command.ask_map("conf.get", {"name": command.arguments.name}).get("content")
    if not isinstance(content, bytes):
        raise BadInput("the answer has no content", where="broker.conf.get")
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    return DONE


def _put(command: Command) -> int:
    content, _ = documents.read_file(command.arguments.file, _FILE_LIMIT_BYTES)
    _print(command.ask_map("conf.put", {"name": command.arguments.name, "content": content}))
    return DONE


def _keys(command: Command) -> int:
    stores = command.ask_map("conf.keys", _place(command)).get("keys")
    if not isinstance(stores, dict):
        raise BadInput("no map of keys", where="broker.conf.keys")
    for store, keys in stores.items():
        for key in keys:
            print(printable(f"{store:<9}  {key}"))
    return DONE


def _get_key(command: Command) -> int:
    arguments = command.arguments
    answer = command.ask_map("conf.get_key", {"key": arguments.key, **_place(command)})
    value = answer.get("value")
    if value is None:
        return fail(arguments, "not_found", f"{arguments.key} is not set in {answer['store']}")
    print(value)
    return DONE


def _set_key(command: Command) -> int:
    arguments = command.arguments
    value = arguments.value
    if value == "-":
        value = sys.stdin.readline().rstrip("\n")
    answer = command.ask_map(
        "conf.set_key", {"key": arguments.key, "value": value, **_place(command)}
    )
    print(printable(f"{arguments.key} is set in {answer.get('store')}"))
    return DONE


def _place(command: Command) -> dict[str, str]:
    store = command.arguments.store
    return {} if store is None else {"store": store}


def _print(answer: dict[str, object]) -> None:
    files, notes = answer.get("files"), answer.get("notes")
    if not isinstance(files, list) or not isinstance(notes, list):
        raise BadInput("no list of files", where="broker.conf")
    for file in files:
        print(printable(f"{file['size_bytes']:>6} bytes  {file['name']}"))
    for note in notes:
        print(printable(f"! {note}"))
