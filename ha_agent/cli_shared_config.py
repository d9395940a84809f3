# SPDX-License-Identifier: Apache-2.0
"""`ha-agent shared-config`: the files that all hosts share in the configuration volume.

The predecessor's counterpart is `hosted-engine --get-shared-config` and `--set-shared-config`,
which change single keys; here whole files are read and replaced.
"""

from __future__ import annotations

import sys

from ha_agent import cli_documents as documents
from ha_agent.cli_command import DONE, Command, Verbs
from ha_agent.cli_ovf import printable
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


def _print(answer: dict[str, object]) -> None:
    files, notes = answer.get("files"), answer.get("notes")
    if not isinstance(files, list) or not isinstance(notes, list):
        raise BadInput("no list of files", where="broker.conf")
    for file in files:
        print(printable(f"{file['size_bytes']:>6} bytes  {file['name']}"))
    for note in notes:
        print(printable(f"! {note}"))
