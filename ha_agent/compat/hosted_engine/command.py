# SPDX-License-Identifier: Apache-2.0
"""What every verb of `hosted-engine` is given: arguments, configuration, the broker, what is
deployed; and the sentences that scripts of the predecessor's users look for.

A host counts as deployed when hosted-engine.conf names the engine VM (`vmid`), which is what the
predecessor looked at, or when our own configuration does. Nothing here waits without a deadline.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from ha_agent.broker.rpc.call import BrokerUnreachable
from ha_agent.broker.snapshot import Snapshot, from_wire
from ha_agent.cli.command import Command
from ha_agent.cli.ovf import printable
from ha_agent.clock import SystemClock
from ha_agent.compat import hosted_engine_conf
from ha_agent.compat.hosted_engine_conf import HostedEngineConf
from ha_agent.config.layers import DEFAULT_PATH, PATH_VARIABLE, ROOT_VARIABLE, ConfigError
from ha_agent.errors import BadInput, DeadlineExceeded

CONF_PATH = Path("etc/ovirt-hosted-engine/hosted-engine.conf")
"""Below the host's root."""
DONE, FAILED = 0, 1
NOT_DEPLOYED = "You must run deploy first"
NO_DAEMON = "Cannot connect to the HA daemon, please check the logs."
# What a look at the picture may take, which comes from memory.
LOOK_SECONDS = 10.0
UNREACHABLE = (BrokerUnreachable, DeadlineExceeded)


class HostedEngine(Command):
    """One invocation of `hosted-engine`."""

    def __init__(self, arguments: argparse.Namespace, environ: Mapping[str, str]) -> None:
        super().__init__(arguments)
        self.environ = environ
        self._clock = SystemClock()
        seconds = getattr(arguments, "timeout", None)
        self._ends_at = None if seconds is None else self._clock.now() + seconds
        self._has_asked = False

    def ask(
        self,
        method: str,
        params: Optional[dict[str, Any]] = None,
        *,
        more_seconds: float = 0.0,
    ) -> Any:
        """As Command.ask, but --timeout is over all that one command asks."""
        limit_seconds = self.arguments.timeout
        if self._has_asked and self._ends_at is not None:
            left_seconds = self._ends_at - self._clock.now()
            if left_seconds <= 0:
                raise DeadlineExceeded(method, limit_seconds)
            self.arguments.timeout = min(limit_seconds, left_seconds)
        self._has_asked = True
        try:
            return super().ask(method, params, more_seconds=more_seconds)
        finally:
            self.arguments.timeout = limit_seconds

    def watches_itself(self) -> None:
        """From now on the verb has a limit of its own, and --timeout is over each question."""
        self._ends_at = None

    @property
    def conf_path(self) -> Path:
        """Where hosted-engine.conf is."""
        return self._root / CONF_PATH

    @property
    def _own_conf_path(self) -> Path:
        named = self.environ.get(PATH_VARIABLE)
        return Path(named) if named else self._root / DEFAULT_PATH.relative_to("/")

    @property
    def _root(self) -> Path:
        return Path(self.environ.get(ROOT_VARIABLE) or "/")

    @functools.cached_property
    def conf(self) -> Optional[HostedEngineConf]:
        """What hosted-engine.conf says, None where there is none. Raises BadInput."""
        path = self.conf_path
        try:
            with open(path, "rb") as stream:
                data = stream.read(hosted_engine_conf.MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BadInput(f"can't be read: {error.strerror}", where=str(path)) from error
        if len(data) > hosted_engine_conf.MAX_BYTES:
            raise BadInput(f"longer than {hosted_engine_conf.MAX_BYTES} bytes", where=str(path))
        try:
            return hosted_engine_conf.parse(data.decode("utf-8"), str(path))
        except UnicodeDecodeError as error:
            raise BadInput("is not UTF-8 text", where=str(path), offset=error.start) from None

    @property
    def vm_uuid(self) -> str:
        """The engine VM's UUID, "" on a host where nothing is deployed.

        Raises BadInput, and ConfigError for a configuration of ours that is there and wrong.
        """
        named = "" if self.conf is None else self.conf.values.get("vmid", "")
        if named:
            return named
        try:
            return str(self.settings.engine.vm_uuid)
        except ConfigError:
            if self._own_conf_path.exists():
                raise
            return ""

    def picture(self) -> Snapshot:
        """Return the broker's picture. Raises EnvironmentFault, RpcCallFailed, BadInput."""
        return from_wire(Snapshot, self.ask("status"), where="broker.status")

    def look(self) -> Snapshot:
        """As `picture`, for a verb whose own deadline is long: memory answers at once or never."""
        limit_seconds = self.arguments.timeout
        self.arguments.timeout = min(limit_seconds, LOOK_SECONDS)
        try:
            return self.picture()
        finally:
            self.arguments.timeout = limit_seconds


def complain(sentence: str) -> int:
    """Say on stderr why it could not be done; returns the exit code."""
    sys.stdout.flush()
    print(printable_lines(sentence), file=sys.stderr)
    return FAILED


def printable_lines(text: str) -> str:
    """Return a text of lines without what could steer a terminal."""
    return "\n".join(printable(line) for line in text.split("\n"))


def become_ha_agent(*words: str) -> int:
    """Become `ha-agent` with those words; as `replace_process`.

    Isolated (-I), because `python -m` looks for modules in the folder it is called in first, and
    root may be in one where others write.
    """
    return replace_process(sys.executable, "-I", "-m", "ha_agent.cli", *words)


def replace_process(program: str, *arguments: str) -> int:
    """Become another program. Returns only where it can't be run, with the exit code."""
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execv(program, [program, *arguments])
    except OSError as error:
        return complain(f"{program} can't be run: {error.strerror}")
