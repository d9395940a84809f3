# SPDX-License-Identifier: Apache-2.0
"""This host as set-up meets it: its settings, its VDSM, its broker, its storage. Process side.

`settings_with` reads the configuration as it would be with another hosted-engine.conf, by the same
code that the daemons read theirs with: in a temporary folder that has the file, and links to all
the others below this host's root.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from ha_agent.broker.rpc import call as rpc_call
from ha_agent.broker.snapshot import Snapshot, from_wire
from ha_agent.broker.storage.domain_connect import DomainConnect, Wanted
from ha_agent.clock import SystemClock
from ha_agent.config import file as config_file
from ha_agent.config import layers
from ha_agent.config.schema import Config, VdsmConfig
from ha_agent.errors import EnvironmentFault
from ha_agent.setup.host_files import read_file
from ha_agent.setup.step import SetupFailed, SetupRefused
from ha_agent.setup.upgrade.predecessor_host import HOSTED_ENGINE_CONF
from ha_agent.vdsm.client.client import ClientState, VdsmClient
from ha_agent.vdsm.client.from_config import vdsm_client
from ha_agent.vdsm.client.verbs import Vdsm

VDSM_SECONDS = 20.0
_BROKER_SECONDS = 45.0
_POLL_SECONDS = 0.05
_LINKED = (
    "etc/ha-agent", "etc/ovirt-hosted-engine-ha", "etc/vdsm", "run/vdsm", "usr/lib/vdsm",
    "var/lib/ovirt-hosted-engine-ha",
)  # fmt: skip
_OWN_CONF = Path("etc/ha-agent/ha-agent.conf")
_OWN_SECTIONS = ("host", "vdsm", "log")
_BLANK = "00000000-0000-0000-0000-000000000000"
# What every configuration must have; nothing of it is used.
_PLACEHOLDER = (
    f"vmid={_BLANK}\nsdUUID={_BLANK}\nhost_id=1\nfqdn=none\ndomainType=nfs\nstorage=none:/none\n"
    f"metadata_image_UUID={_BLANK}\nmetadata_volume_UUID={_BLANK}\n"
)


@dataclasses.dataclass(frozen=True)
class OwnFiles:
    """Where this host's configuration is: `root` of its files, and what the command line and the
    environment name."""

    root: Path
    paths: Sequence[Path]
    environ: Mapping[str, str]

    def settings_with(self, text: str) -> Config:
        """Return the configuration with this text as hosted-engine.conf. Raises SetupRefused."""
        with tempfile.TemporaryDirectory(prefix="ha-agent-") as name:
            folder = Path(name)
            for link in _LINKED:
                if (self.root / link).exists():
                    (folder / link).parent.mkdir(parents=True, exist_ok=True)
                    (folder / link).symlink_to((self.root / link).absolute())
            path = folder / HOSTED_ENGINE_CONF
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            path.chmod(0o600)  # a password may be in it
            try:
                return layers.load(self.paths, self.environ, host_root=folder)
            except layers.ConfigError as error:
                told = str(error).replace(str(path), "hosted-engine.conf")
                raise SetupRefused(told.replace(name, str(self.root).rstrip("/"))) from error

    def settings_alone(self) -> Config:
        """Return what this host says of itself while it has no cluster: only the sections in
        _OWN_SECTIONS mean something. Raises SetupRefused, BadInput."""
        named = self.environ.get(layers.PATH_VARIABLE)
        paths = self.paths or [Path(named) if named else self.root / _OWN_CONF]
        kept: dict[str, dict[str, str]] = {}
        for path in paths:
            for file in (path, *config_file.drop_ins(path)):
                if not file.exists():
                    continue
                # What is wrong with the file is told when all of it is read, as it is later.
                for entry in config_file.parse(config_file.read_file(file), str(file), []):
                    if entry.section in _OWN_SECTIONS:
                        kept.setdefault(entry.section, {})[entry.key] = entry.text
        with tempfile.NamedTemporaryFile("w", prefix="ha-agent-", suffix=".conf") as own:
            for section, pairs in kept.items():
                own.write(f"[{section}]\n")
                own.writelines(f"{key} = {text}\n" for key, text in pairs.items())
            own.flush()
            alone = dataclasses.replace(self, paths=[Path(own.name)])
            return alone.settings_with(_PLACEHOLDER)


@contextlib.asynccontextmanager
async def connected_vdsm(settings: VdsmConfig, clock: SystemClock) -> AsyncIterator[Vdsm]:
    """Be connected to this host's VDSM. Raises EnvironmentFault when it does not answer."""
    client = vdsm_client(settings, clock, lambda: None)
    client.start()
    try:
        await _ready(client, clock)
        yield Vdsm(client)
    finally:
        await client.close()


async def _ready(client: VdsmClient, clock: SystemClock) -> None:
    ends_at = clock.now() + VDSM_SECONDS
    while client.state is not ClientState.READY:
        if clock.now() >= ends_at:
            raise EnvironmentFault(f"VDSM at {client.peer}: {client.reason}")
        await clock.sleep(_POLL_SECONDS)


class SocketBroker:
    """This host's broker, over its socket; implements leave.OwnBroker."""

    def __init__(self, socket: str, clock: SystemClock) -> None:
        self._socket = socket
        self._clock = clock

    async def picture(self) -> Snapshot:
        """Ask for the status. Raises EnvironmentFault."""
        return from_wire(Snapshot, await self._ask("status", {}), where="broker.status")

    async def set_local_maintenance(self) -> None:
        """Set it. Raises EnvironmentFault."""
        await self._ask(
            "maintenance.set", {"scope": "local", "enabled": True, "reason": "leaving the cluster"}
        )

    async def _ask(self, method: str, params: dict[str, object]) -> object:
        try:
            return await asyncio.to_thread(
                rpc_call.call_once,
                self._socket,
                method,
                params,
                _BROKER_SECONDS,
                clock=self._clock,
            )
        except rpc_call.RpcCallFailed as error:
            raise SetupFailed(f"the broker refuses {method}: {error.message}") from error


class VdsmStorage:
    """The storage as VDSM has connected it; implements leave.OwnStorage."""

    def __init__(self, settings: VdsmConfig, wanted: Wanted, clock: SystemClock) -> None:
        self._settings = settings
        self._wanted = wanted
        self._clock = clock

    async def release(self) -> str:
        """Disconnect it, unless a VM of this host or the engine needs it. EnvironmentFault."""
        try:
            async with connected_vdsm(self._settings, self._clock) as vdsm:
                return await self._release(vdsm)
        except EnvironmentFault as fault:
            if self._wanted.server is None:
                return f"it is the system that has it mounted ({fault})"
            raise

    async def connect(self) -> str:
        """Have it connected. Raises EnvironmentFault, SetupFailed with what is wrong."""
        async with connected_vdsm(self._settings, self._clock) as vdsm:
            problem = await self._domain(vdsm).connect_now()
        if problem:
            raise SetupFailed(f"the storage can't be connected: {problem}")
        return "it is connected"

    def _domain(self, vdsm: Vdsm) -> DomainConnect:
        return DomainConnect(
            vdsm,
            self._wanted,
            clock=self._clock,
            in_maintenance=lambda: True,
            is_unread=lambda: False,
        )

    async def _release(self, vdsm: Vdsm) -> str:
        async def refuse_if_needed() -> None:
            vms = await vdsm.vm_list()
            if vms:
                raise _Needed(f"VMs of this host may have disks there: {vms[0].vm_id}")

        try:
            problem = await self._domain(vdsm).release(refuse_if_needed)
        except _Needed as needed:
            return f"it stays connected: {needed}"
        if problem:
            return f"it stays connected: {problem}"
        return "VDSM has let go of it" if self._wanted.server is None else "it is disconnected"


class _Needed(EnvironmentFault):
    """Somebody needs the storage."""


def is_set_up(root: Path) -> bool:
    """Whether this host has a hosted-engine.conf. Raises EnvironmentFault."""
    return read_file(root / HOSTED_ENGINE_CONF) is not None
