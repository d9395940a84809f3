# SPDX-License-Identifier: Apache-2.0
"""The broker's process: serve the parts on the socket until told to stop.

It decides nothing about where the VM runs. Everything that touches shared storage happens in
worker processes, one lane for each kind of work, so that the lease's renewal never queues
behind a status block, nor either behind an OVF.
"""

from __future__ import annotations

import argparse
import asyncio
import grp
import logging
import os
import pwd
import signal
import socket
import sys
from pathlib import Path
from typing import Optional

from ha_agent import log as logs
from ha_agent.broker.api.about import AboutApi
from ha_agent.broker.api.arguments import Access
from ha_agent.broker.parts import Parts
from ha_agent.broker.rpc import unix_listener
from ha_agent.broker.rpc.server import Handler, RpcServer, ServerLimits
from ha_agent.clock import SystemClock
from ha_agent.config import layers
from ha_agent.config.schema import Config
from ha_agent.errors import EnvironmentFault, HaAgentError
from ha_agent.journal_messages import DAEMON_STARTED, DAEMON_STOPPED
from ha_agent.loop_watch import LoopWatch
from ha_agent.readiness import Readiness, listen_sockets
from ha_agent.reload import Reload, begin_anew, refuse_other

log = logging.getLogger(__name__)

_WATCHDOG_SECONDS = 1.0


class Broker:
    """One host's broker, built from its configuration."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._readiness = Readiness()
        self._end = asyncio.Event()
        self._told_to_stop = False
        self.reload = Reload(self._check_files, self._readiness, self._end.set)
        self.passed: Optional[socket.socket] = None
        """The listening socket that systemd has passed; the server closes its own copy."""
        self._gid = _gid_of(config.broker.socket_group)
        access = Access(os.getuid(), self._gid, _uids_of(config.broker.socket_user))
        for note in config.notes:
            log.warning("%s", note)
        self._parts = Parts(config, SystemClock(), access)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, or a reload. The engine VM is left as it is."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        self.reload.listen()
        broker, host = self._config.broker, self._config.host
        inherited = listen_sockets()
        self.passed = inherited[0].dup() if inherited else None
        listener = (
            inherited[0]
            if inherited
            else unix_listener.listen_unix(
                str(broker.socket), mode=broker.socket_mode, gid=self._gid
            )
        )
        server = self._server()
        server.start(listener)
        text, begun = "broker of host %d (%s) serves at %s", logs.fields(DAEMON_STARTED)
        log.info(text, host.id, host.name, broker.socket, extra=begun)
        tasks = [loop.create_task(work) for work in await self._parts.start()]
        try:
            await self._wait(tasks)
        finally:
            if not self.begins_anew:
                self._readiness.stopping()
            told = logs.fields(None if self.begins_anew else DAEMON_STOPPED)
            log.info("broker ends; the engine VM is left alone", extra=told)
            self._parts.wake()
            await server.stop()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._parts.close()
            if not inherited:
                unix_listener.remove_socket_file(str(broker.socket))

    @property
    def begins_anew(self) -> bool:
        """Whether the end that is under way is a reload's. A stop goes before it."""
        return self.reload.asked and not self._told_to_stop

    def _stop(self) -> None:
        self._told_to_stop = True
        self._end.set()

    def _check_files(self) -> None:
        new = layers.complete(layers.load(self._config.paths, os.environ))
        refuse_other(self._config, new)
        _gid_of(new.broker.socket_group)

    def _server(self) -> RpcServer:
        handlers: dict[str, Handler] = {}
        deadlines_seconds: dict[str, float] = {}
        for feature in self._parts.features:
            handlers.update(feature.handlers)
            deadlines_seconds.update(feature.deadlines_seconds)
        about = AboutApi(
            self._config,
            access=self._parts.access,
            verbs=lambda: list(handlers),
            features=lambda: [feature.name for feature in self._parts.features],
            connections=lambda: server.connection_count,
        )
        handlers.update(about.handlers())
        server = RpcServer(
            handlers,
            deadlines_seconds=deadlines_seconds,
            trusted=self._parts.access.may_change,
            limits=ServerLimits(call_deadline_seconds=self._config.broker.call_deadline_seconds),
            tally=self._parts.rpc_tally,
        )
        return server

    async def _wait(self, tasks: list[asyncio.Task[None]]) -> None:
        """Until told to stop. READY after the first look at storage, good or bad: STATUS says."""
        ready = False
        loop_watch = LoopWatch(SystemClock(), _WATCHDOG_SECONDS)
        stop = asyncio.ensure_future(self._end.wait())
        while not stop.done():
            snapshot = self._parts.board.read()
            storage = snapshot.storage
            looked = storage.read_at is not None or storage.problem
            fine = "fine" if looked else "being looked at for the first time"
            self._readiness.status(
                f"lease {snapshot.lease.state}, definition "
                f"{snapshot.definition.identity or 'missing'}, storage {storage.problem or fine}"
            )
            self._readiness.watchdog()
            loop_watch.passed()
            if not ready:
                self._readiness.starting()
                if looked:
                    self._readiness.ready()
                    ready = True
            for task in tasks:
                if task.done():
                    task.result()  # a bug: end, and let systemd start us anew
            await asyncio.wait(
                {stop, *tasks}, timeout=_WATCHDOG_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )


def _gid_of(group: str) -> Optional[int]:
    try:
        return grp.getgrnam(group).gr_gid if group else None
    except KeyError:
        raise EnvironmentFault(
            f"there is no group {group!r} ([broker] socket_group) on this host"
        ) from None


def _uids_of(user: str) -> frozenset[int]:
    """A host without VDSM has no user of that name, and then it is nobody."""
    try:
        return frozenset({pwd.getpwnam(user).pw_uid}) if user else frozenset()
    except KeyError:
        return frozenset()


def main(argv: Optional[list[str]] = None) -> int:
    """Entry point of `ha-broker`."""
    parser = argparse.ArgumentParser(prog="ha-broker", description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, help="configuration file")
    arguments = parser.parse_args(argv)
    try:
        paths = [arguments.config] if arguments.config else []
        config = layers.complete(layers.load(paths, os.environ))
    except layers.ConfigError as error:
        print(f"ha-broker: {error}", file=sys.stderr)  # noqa: T201
        return 2
    try:
        context = {"host_id": config.host.id, "vm_id": config.engine.vm_uuid or None}
        folder = config.log.folder
        logs.setup(config.log.level, "ha-broker", context=context, folder=folder)

        async def serve() -> tuple[bool, Optional[socket.socket]]:
            broker = Broker(config)
            await broker.run()
            return broker.begins_anew, broker.passed

        begins_anew, passed = asyncio.run(serve())
        if begins_anew:
            begin_anew(passed)
    except HaAgentError as error:
        print(f"ha-broker: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
