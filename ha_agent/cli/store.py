# SPDX-License-Identifier: Apache-2.0
"""`ha-agent store`: the OVF_STORE's volumes: make, list, check them, read and change one OVF."""

from __future__ import annotations

import json
from typing import Any

from ha_agent.cli import documents, ovf
from ha_agent.cli.command import DONE, FAILED, Command, Verbs
from ha_agent.cli.ovf import printable
from ha_agent.errors import BadInput

_READ_SECONDS = 60.0


def add(verbs: Verbs) -> None:
    """Add `store` with its verbs."""
    store = verbs.group("store", "the OVF_STORE volumes on the storage domain")
    listing = store.asking(
        "list", "the copies, and which is read", _list, timeout_seconds=_READ_SECONDS
    )
    listing.add_argument("--json", action="store_true", help="a list of objects")
    verify = store.asking(
        "verify",
        "read every copy whole and check it; exit code 1 when one is not right",
        _verify,
        timeout_seconds=ovf.PUT_SECONDS,
    )
    verify.add_argument("--json", action="store_true", help="a list of objects")
    get = store.asking("get", "write the OVF that is in use to stdout", _get)
    get.add_argument(
        "--version", type=int, metavar="N", help="that version of this host's history"
    )
    put = store.asking(
        "put",
        "check an OVF and store it in both copies, changing that one member",
        _put,
        timeout_seconds=ovf.PUT_SECONDS,
    )
    put.add_argument("file", metavar="FILE", help="the OVF; - is stdin")
    ovf.add_force(put)
    store.asking(
        "create",
        "make the OVF_STORE volumes that are missing",
        _create,
        timeout_seconds=ovf.PUT_SECONDS,
    )


def _list(command: Command) -> int:
    answer = command.ask_map("store.list")
    return _print_copies(command, answer, DONE)


def _verify(command: Command) -> int:
    answer = command.ask_map("store.verify")
    return _print_copies(command, answer, DONE if answer.get("good") is True else FAILED)


def _print_copies(command: Command, answer: dict[str, Any], code: int) -> int:
    copies = answer.get("copies")
    if not isinstance(copies, list):
        raise BadInput("no list of copies", where="broker.store")
    if command.arguments.json:
        print(json.dumps(answer, indent=2))
        return code
    for copy in copies:
        print(printable(f"image {copy['image_uuid']}, volume {copy['volume_uuid']}"))
        for sentence in copy["sentences"]:
            print(printable(f"    {sentence}"))
    for problem in answer.get("problems", ()):
        print(printable(f"! {problem}"))
    if not copies:
        print("no OVF_STORE volume; `ha-agent store create` makes two")
    return code


def _get(command: Command) -> int:
    number = command.arguments.version
    document = documents.in_use(command) if number is None else documents.version(command, number)
    ovf.write_bytes(document.data)
    return DONE


def _put(command: Command) -> int:
    document = documents.from_file(command.arguments.file)
    if document.is_vm_conf:
        raise BadInput(
            "not an OVF; `ha-agent ovf translate --to ovf` makes one of a vm.conf",
            where=document.where,
        )
    documents.understood(document)  # here an error can name the file
    return ovf.put(command, document.data, "put")


def _create(command: Command) -> int:
    answer = command.ask_map("store.create")
    for copy in answer.get("made", ()):
        print(f"made image {copy['image_uuid']}, volume {copy['volume_uuid']}")
    print(f"the store has {answer.get('count')} copies")
    return DONE
