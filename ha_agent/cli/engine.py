# SPDX-License-Identifier: Apache-2.0
"""`ha-agent engine`: make the engine know its own VM and storage domain, and look how far that is.

Speaks to the engine's REST API (docs/engine-import.md), not through the broker; that one is only
asked what the OVF_STORE holds, and may be down. Progress goes to stdout, with --json to stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from ha_agent.broker.rpc import call as rpc_call
from ha_agent.cli.command import DONE, FAILED, USAGE, Command, Verbs, add_timeout, fail
from ha_agent.cli.ovf import printable
from ha_agent.clock import SystemClock
from ha_agent.config import layers
from ha_agent.errors import BadInput, HaAgentError

if TYPE_CHECKING:  # these load TLS and the SDK, which no other command needs
    import ssl

    from ha_agent.engine.api import Engine
    from ha_agent.engine.budget import Budget
    from ha_agent.engine.sdk import EngineLink, Login
    from ha_agent.engine.store_view import BrokerView
    from ha_agent.engine.views import Wanted

_IMPORT_SECONDS = 1800.0
_LOOK_SECONDS = 60.0
_MAX_PASSWORD_BYTES = 1024
_INTERRUPTED = "interrupted; the same command goes on from there"


def add(verbs: Verbs) -> None:
    """Add `engine` with its verbs."""
    group = verbs.group("engine", "make the engine know the engine VM and its storage domain")
    bring = group.add(
        "import",
        "import the storage domain and register the engine VM; may be run again at any time",
        lambda command: _run(command, _import),
    )
    _add_login(bring, _IMPORT_SECONDS)
    bring.add_argument("--datacenter", default="", metavar="NAME", help="if several would do")
    bring.add_argument("--cluster", default="", metavar="NAME", help="to register the VM in")
    bring.add_argument("--host", default="", metavar="NAME", help="to import through")
    bring.add_argument(
        "--update-interval",
        type=_minutes,
        default=5,
        metavar="MINUTES",
        help="how often the engine is to write the OVF_STORE (default %(default)s); it is only "
        "told how to set that, the API can't",
    )
    bring.add_argument("--dry-run", action="store_true", help="look, and print the plan")
    status = group.add(
        "status",
        "what of the import is done; exit code 1: not all of it",
        lambda command: _run(command, _status),
    )
    _add_login(status, _LOOK_SECONDS)
    check = group.add(
        "check",
        "the hosts' high availability as the engine sees it",
        lambda command: _run(command, _check),
    )
    _add_login(check, _LOOK_SECONDS)


def _add_login(parser: argparse.ArgumentParser, timeout_seconds: float) -> None:
    parser.add_argument("--url", required=True, help="https://ENGINE/ovirt-engine/api")
    parser.add_argument("--user", required=True, help="such as admin@internal")
    parser.add_argument(
        "--password-file", required=True, type=Path, metavar="FILE", help="its first line"
    )
    trust = parser.add_mutually_exclusive_group(required=True)
    trust.add_argument("--ca-file", metavar="FILE", help="PEM of the CA of the engine's web page")
    trust.add_argument(
        "--insecure", action="store_true", help="trust any certificate: for laboratories"
    )
    parser.add_argument("--json", action="store_true", help="the result as one JSON object")
    add_timeout(parser, timeout_seconds)


def _minutes(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1440:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes from 1 to 1440")
    return int(text)


class _Session:
    """What a verb needs: the engine, and what is wanted of it."""

    def __init__(self, command: Command, login: Login, trust: ssl.SSLContext) -> None:
        from ha_agent.engine.api import Engine
        from ha_agent.engine.budget import Budget
        from ha_agent.engine.sdk import EngineLink
        from ha_agent.engine.store_view import LIST_SECONDS, BrokerView

        self.command = command
        self.clock = SystemClock()
        self.budget: Budget = Budget(self.clock, command.arguments.timeout)
        self.link: EngineLink = EngineLink(login, self.budget)
        self.engine: Engine = Engine(self.link)
        socket = str(command.settings.broker.socket)
        self.view: BrokerView = BrokerView(
            lambda method: rpc_call.call_once(socket, method, {}, LIST_SECONDS, clock=self.clock)
        )
        self._login, self._trust = login, trust

    async def connect(self) -> None:
        """Wait for the engine and log in."""
        from ha_agent.engine.importing import connect

        await connect(self.engine, self._login.url, self._trust, budget=self.budget, say=self.say)

    def wanted(self) -> Wanted:
        """Return what our configuration and the command line want. Raises BadInput."""
        from ha_agent.broker.storage.server_source import load_server
        from ha_agent.engine.views import Wanted

        settings, arguments = self.command.settings, self.command.arguments
        return Wanted(
            domain_uuid=settings.storage.domain_uuid.lower(),
            vm_uuid=settings.engine.vm_uuid.lower(),
            server=load_server(settings.storage, settings.lease.backend),
            this_host=settings.host.name,
            host=getattr(arguments, "host", ""),
            cluster=getattr(arguments, "cluster", ""),
            data_center=getattr(arguments, "datacenter", ""),
        )

    def say(self, text: str) -> None:
        """Show a line of progress."""
        stream = sys.stderr if self.command.arguments.json else sys.stdout
        print(printable(text), file=stream, flush=True)


def _run(command: Command, verb: Callable[[_Session], Coroutine[Any, Any, int]]) -> int:
    from ha_agent import interruptible

    async def whole() -> int:
        session = _Session(command, login, trust)
        try:
            await session.connect()
            return await verb(session)
        finally:
            await session.link.close()

    arguments = command.arguments
    _ = command.settings  # its faults come first, and have an exit code of their own
    try:
        login, trust = _login(arguments)
    except BadInput as error:
        fail(arguments, "usage", str(error))
        return USAGE
    if arguments.insecure:
        print(
            "ha-agent: warning: --insecure: the password goes to whoever answers", file=sys.stderr
        )
    try:
        return interruptible.run(whole())
    except layers.ConfigError:
        raise
    except HaAgentError as error:
        return fail(arguments, "engine", printable(str(error)))
    except KeyboardInterrupt:
        return fail(arguments, "interrupted", _INTERRUPTED)


def _login(arguments: argparse.Namespace) -> tuple[Login, ssl.SSLContext]:
    from ha_agent.engine.reach import api_url, trust_of
    from ha_agent.engine.sdk import Login

    url, ca_file = api_url(arguments.url), arguments.ca_file
    path = arguments.password_file
    where = f"--password-file {path}"
    try:
        with path.open("rb") as file:
            line, _, _ = file.read(_MAX_PASSWORD_BYTES + 1).partition(b"\n")
        if len(line) > _MAX_PASSWORD_BYTES:
            raise BadInput(f"its first line has over {_MAX_PASSWORD_BYTES} bytes", where=where)
        password = line.rstrip(b"\r").decode()
    except OSError as error:
        raise BadInput(f"can't be read: {error.strerror}", where=where) from None
    except UnicodeDecodeError:
        raise BadInput("is not UTF-8", where=where) from None
    if not password:
        raise BadInput("has no password in its first line", where=where)
    return Login(url, arguments.user, password, ca_file), trust_of(ca_file)


async def _import(session: _Session) -> int:
    from ha_agent.engine.importing import import_all

    arguments = session.command.arguments
    outcome = await import_all(
        session.engine,
        session.wanted(),
        session.view,
        state_dir=session.command.settings.host.state_dir,
        budget=session.budget,
        clock=session.clock,
        say=session.say,
        dry_run=arguments.dry_run,
        interval_minutes=arguments.update_interval,
    )
    if arguments.json:
        key = "plan" if arguments.dry_run else "changed"
        print(json.dumps({key: list(outcome.changed), "notes": list(outcome.notes)}))
        return DONE
    for note in outcome.notes:
        session.say(f"note: {note}")
    if not outcome.changed:
        session.say("nothing to do")
    return DONE


async def _status(session: _Session) -> int:
    from ha_agent.engine.importing import journal_of, status_of
    from ha_agent.engine.step_base import Run

    wanted = session.wanted()
    with journal_of(session.command.settings.host.state_dir, wanted, write=False) as journal:
        run = Run(session.engine, wanted, journal=journal, budget=session.budget, say=session.say)
        told = await status_of(run, session.view)
        interval = await run.patiently("the update interval", run.engine.ovf_interval_minutes)
    done = all(found.done for _, found in told)
    if session.command.arguments.json:
        steps = [
            {"name": step.name, "done": found.done, "text": found.text} for step, found in told
        ]
        print(json.dumps({"done": done, "steps": steps, "ovf_update_interval_minutes": interval}))
    else:
        for step, found in told:
            session.say(f"{'done   ' if found.done else 'missing'}  {step.title}: {found.text}")
        session.say(f"update interval: {'not told' if interval is None else f'{interval} min'}")
    return DONE if done else FAILED


async def _check(session: _Session) -> int:
    hosts = await session.engine.hosts()
    told = [
        {
            "name": host.name,
            "status": host.status,
            "configured": ha.configured,
            "active": ha.active,
            "score": ha.score,
            "global_maintenance": ha.global_maintenance,
            "local_maintenance": ha.local_maintenance,
        }
        for host in hosts
        for ha in [host.hosted_engine]
        if ha is not None
    ]
    if session.command.arguments.json:
        print(json.dumps({"hosts": told}))
        return DONE
    session.say(f"{'host':20}  {'status':14}  {'score':>5}  hosted engine")
    for one in told:
        words = [word for word in ("configured", "active") if one[word]] or ["not configured"]
        words += [
            f"{kind} maintenance" for kind in ("global", "local") if one[f"{kind}_maintenance"]
        ]
        session.say(
            f"{one['name']!s:20}  {one['status']!s:14}  {one['score']:>5}  {', '.join(words)}"
        )
    return DONE
