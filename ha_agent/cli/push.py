# SPDX-License-Identifier: Apache-2.0
"""`ha-agent push`: does what the engine does, from any machine that has an allowed certificate.

    ha-agent push --host h1 --host h2 --cert C --key K --ca CA  refresh
                                                                put FILE
                                                                can-do ACTION KEY=VALUE...
                                                                status | version

It needs no broker here and no configuration. Hosts are asked in their order; the next one is
asked when one does not answer, or says that it can't do it now. That is safe: a refresh and a put
of the same document may be made twice. docs/push.md describes the wire.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from ha_agent.broker.rpc import codec as rpc_codec
from ha_agent.broker.rpc.call import RpcCallFailed
from ha_agent.broker.snapshot import DefinitionEntry, Snapshot, from_wire
from ha_agent.cli import documents
from ha_agent.cli.command import DONE, FAILED, USAGE, Command, Verbs, add_timeout, fail, seconds
from ha_agent.cli.ovf import PUT_SECONDS, printable
from ha_agent.clock import SystemClock
from ha_agent.config.schema import PushConfig
from ha_agent.errors import BadInput
from ha_agent.status_text import status_text

if TYPE_CHECKING:  # ssl costs every other command 10 ms
    from ha_agent.push_client import Target

_CONNECT_SECONDS = 10.0
_CALL_SECONDS = 90.0
_FILE_LIMIT_BYTES = 8 * 1024 * 1024
WHATS = ("refresh", "put", "can-do", "status", "version")
ELSEWHERE = (
    *(rpc_codec.CODE_BUSY, rpc_codec.CODE_DEADLINE, rpc_codec.CODE_INTERNAL),
    *(rpc_codec.CODE_NOT_READY, rpc_codec.CODE_STOPPING),
    *("storage", "not_spm", "pool_not_connected"),
)
"""Error codes of one host that another one may not answer with."""


@dataclass(frozen=True)
class _Call:
    method: str
    params: dict[str, Any]


def add(verbs: Verbs) -> None:
    """Add `push`."""
    parser = verbs.add("push", "tell hosts over TLS what the engine tells them", _push)
    parser.add_argument(
        "--host",
        action="append",
        required=True,
        metavar="HOST[:PORT]",
        help="whom to ask; give it again for the next one, in case this one does not answer",
    )
    port = PushConfig.listen_port
    parser.add_argument(
        "--port", type=_port, default=port, help="where none is given (%(default)s)"
    )
    for name, what in (
        ("cert", "our certificate, which the hosts' [push] allowed_subjects names"),
        ("key", "its private key"),
        ("ca", "the engine's CA"),
    ):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="FILE", help=what)
    parser.add_argument(
        "--server-name", metavar="NAME", help="what the host's certificate names, if not HOST"
    )
    parser.add_argument(
        "--connect-timeout",
        type=seconds,
        default=_CONNECT_SECONDS,
        metavar="SECONDS",
        help="go to the next host after this (default %(default)g)",
    )
    add_timeout(parser, _CALL_SECONDS)
    parser.add_argument("--json", action="store_true", help="the answer as JSON, with its host")
    parser.add_argument("what", choices=WHATS, metavar="WHAT", help=", ".join(WHATS))
    parser.add_argument(
        "words", nargs="*", metavar="WORD", help="put: FILE; can-do: ACTION, then KEY=VALUE"
    )
    parser.set_defaults(usage_error=parser.error)


def _push(command: Command) -> int:
    from ha_agent.push_client import Deadlines, PushUnreachable, call_host, client_context

    arguments = command.arguments
    call = _call_of(arguments)
    targets = [_target(text, arguments) for text in arguments.host]
    try:
        context = client_context(arguments.cert, arguments.key, arguments.ca)
    except BadInput as fault:
        fail(arguments, "certificate", str(fault))
        return USAGE
    waits = arguments.timeout
    if call.method == "ovf.put" and waits == _CALL_SECONDS:
        waits = PUT_SECONDS  # a put may have to wait for another writer
    deadlines = Deadlines(arguments.connect_timeout, waits)
    failed: list[str] = []
    last: Optional[RpcCallFailed] = None
    for target in targets:
        try:
            answer = call_host(
                target, context, call.method, call.params, deadlines, clock=SystemClock()
            )
        except PushUnreachable as error:
            failed.append(str(error))
            continue
        except RpcCallFailed as error:
            last = error
            failed.append(f"{target}: {error.message}")
            if error.code in ELSEWHERE:
                continue
            return fail(arguments, error.code, printable(failed[-1]))
        for one in failed:
            print(printable(f"ha-agent: note: {one}"), file=sys.stderr)
        return _show(arguments, target, answer)
    code = "unreachable" if last is None else last.code
    return fail(arguments, code, printable("; ".join(failed)))


def _call_of(arguments: argparse.Namespace) -> _Call:
    what, words = arguments.what, list(arguments.words)
    if what == "put":
        if len(words) != 1:
            arguments.usage_error("put wants one FILE")
        document, _ = documents.read_file(words[0], _FILE_LIMIT_BYTES, ", and so no OVF")
        return _Call("ovf.put", {"document": document})
    if what == "can-do":
        pairs = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        if not words or len(pairs) != len(words) - 1 or not all(pairs) or not all(pairs.values()):
            arguments.usage_error("can-do wants ACTION and KEY=VALUE, such as disk=<uuid>")
        return _Call("can_do", {"action": words[0], "object": pairs})
    if words:
        arguments.usage_error(f"{what} wants nothing more")
    return _Call(what, {})


def _target(text: str, arguments: argparse.Namespace) -> Target:
    """HOST, HOST:PORT, [IPv6]:PORT or [IPv6]; two colons and more are IPv6 without a port."""
    from ha_agent.push_client import Target

    host, colon, given = text, "", ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        colon, given = rest[:1], rest[1:]
    elif text.count(":") == 1:
        host, colon, given = text.partition(":")
    if not host or colon not in ("", ":"):
        arguments.usage_error(f"--host {text!r} is not HOST or HOST:PORT")
    try:
        port = _port(given) if colon else arguments.port
    except argparse.ArgumentTypeError as error:
        arguments.usage_error(f"--host {text!r}: {error}")
    return Target(host, port, arguments.server_name or host)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:6]) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port, 1 to 65535")
    return int(text)


def _show(arguments: argparse.Namespace, target: Target, answer: Any) -> int:
    if not isinstance(answer, dict):
        return fail(arguments, "bad_answer", f"{target}: its answer is no map")
    what = arguments.what
    code = DONE
    if what == "can-do" and answer.get("allowed") is not True:
        code = FAILED
    if what == "refresh" and answer.get("problem"):
        code = FAILED
    if arguments.json:
        print(json.dumps({"host": target.host, "port": target.port, "result": answer}))
        return code
    if what == "status":
        snapshot = from_wire(Snapshot, answer, where=f"{target} status")
        sys.stdout.write(status_text(snapshot, SystemClock().wall()))
        return code
    for line in _lines(what, target, answer):
        print(printable(line))
    return code


def _lines(what: str, target: Target, answer: dict[str, Any]) -> list[str]:
    if what == "version":
        return [
            f"{target}: ha-agent {answer.get('version')}, push version"
            f" {answer.get('push_version')}"
        ]
    if what == "can-do":
        word = "yes" if answer.get("allowed") is True else "no"
        return [f"{word} ({answer.get('code')}): {answer.get('sentence')}"]
    if what == "put":
        lines = [str(one) for one in answer.get("differences", ())]
        lines += [f"note: {one}" for one in answer.get("notes", ())]
        return [*lines, f"{target}: definition {answer.get('identity')} is in the store"]
    where = f"{target} refresh"
    definition = from_wire(DefinitionEntry, answer.get("definition"), where=where)
    lines = [f"{target}: definition {definition.identity or 'none'} is in use there"]
    if answer.get("problem"):
        lines.append(f"not refreshed: {answer['problem']}")
    lines.append(str(answer.get("told") or "all other hosts were asked to look"))
    return lines
