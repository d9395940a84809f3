# SPDX-License-Identifier: Apache-2.0
"""The process `ha-vdsm`: VDSM's verbs on hosts that have no VDSM, with QEMU behind them.

    start    listen (every verb is refused with code 99), find the VMs of an earlier life again,
             then answer
    stop     end the connections; VMs go on, with their leases

It is a stand-in for VDSM: whatever the agent may ask of it, the real VDSM must promise too. Under
systemd its unit needs KillMode=process, since the VMs live in its control group.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Protocol

from ha_agent import log as logs
from ha_agent.certificates import TlsFiles
from ha_agent.clock import SystemClock
from ha_agent.config import layers
from ha_agent.config.schema import Config
from ha_agent.errors import BadInput, EnvironmentFault, HaAgentError
from ha_agent.instant import Instant, WallTime
from ha_agent.journal_messages import DAEMON_STARTED, DAEMON_STOPPED
from ha_agent.readiness import Readiness
from ha_agent.reload import Reload, begin_anew, refuse_other
from ha_agent.vdsm import jsonrpc
from ha_agent.vdsm.deadline import StorageThreads
from ha_agent.vdsm.errors import VdsmCode
from ha_agent.vdsm.qemu.probe import choose_accelerator, read_qemu
from ha_agent.vdsm.qemu.process import MAX_SOCKET_PATH_BYTES
from ha_agent.vdsm.refusal import Refusal
from ha_agent.vdsm.server.ha_info import HaInfo, HaPlace
from ha_agent.vdsm.server.handlers import Handlers
from ha_agent.vdsm.server.host_stats import SAMPLE_INTERVAL_SECONDS, HostSamples
from ha_agent.vdsm.server.monitors import Monitors
from ha_agent.vdsm.server.stomp_server import StompServer
from ha_agent.vdsm.server.stomp_stream import server_context
from ha_agent.vdsm.server.storage_verbs import StorageVerbs
from ha_agent.vdsm.server.tasks import Tasks
from ha_agent.vdsm.vm.lease import LockFileLeases, VmLeases
from ha_agent.vdsm.vm.pause import PauseTimes
from ha_agent.vdsm.vm.registry import run_folder
from ha_agent.vdsm.vm.sanlock import HostIds, SanlockLeases
from ha_agent.vdsm.vm.start import VmHost
from ha_agent.vdsm.vm.state import vdsm_clock_ms
from ha_agent.vdsm.vm.vms import Vms
from ha_agent.waiting import wait_for_event

log = logging.getLogger(__name__)

# Well within WatchdogSec=.
_STATUS_SECONDS = 2.0
# What a VM's sockets add to the run directory: /<uuid>/channel99.sock.
_SOCKET_PATH_BYTES = 1 + 36 + 1 + len("channel99.sock")


class Clock(Protocol):
    """The clocks that statuses and reads are dated by."""

    def now(self) -> Instant: ...

    def wall(self) -> WallTime: ...


@dataclass(frozen=True)
class ServerSettings:
    """What the embedded VDSM is told.

    `domain_paths` are storage domains or directories that hold them; `networks` maps a network's
    name to QEMU's -netdev value without id; `accelerator` is auto, kvm or tcg; `vm_lease` is
    lockfile or sanlock. Without `runs_vms` it serves the storage only: the VM is libvirt's. Port 0
    takes any. `tls` None is plain TCP. `ha` None: no hosted engine's broker is to be asked.
    """

    run_dir: Path
    domain_paths: tuple[Path, ...]
    listen_host: str = "127.0.0.1"
    listen_port: int = 54321
    qemu_binary: str = "qemu-system-x86_64"
    accelerator: str = "auto"
    networks: Mapping[str, str] = field(default_factory=dict)
    storage_deadline_seconds: float = 10.0
    monitor_interval_seconds: float = 10.0
    vm_lease: str = "lockfile"
    sanlock_io_timeout_seconds: int = 10
    runs_vms: bool = True
    tls: Optional[TlsFiles] = None
    sample_interval_seconds: float = SAMPLE_INTERVAL_SECONDS
    pause_times: PauseTimes = field(default_factory=PauseTimes)
    ha: Optional[HaPlace] = None


class EmbeddedVdsm:
    """The server with all its parts."""

    def __init__(self, settings: ServerSettings, clock: Optional[Clock] = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._stomp = StompServer(self._answer, self._settings.tls)
        self._handlers: Optional[Handlers] = None
        self._vms: Optional[Vms] = None
        self._monitors: Optional[Monitors] = None
        self._tasks = Tasks()
        self._samples = HostSamples(self._settings.sample_interval_seconds)

    @property
    def status(self) -> str:
        """One line for `systemctl status`."""
        if self._handlers is None or self._handlers.is_recovering or self._vms is None:
            return "finding the VMs of an earlier life again"
        return f"listening on port {self.port}, VMs: {len(self._vms.all())}"

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._stomp.port

    async def start(self) -> None:
        """Listen and find the VMs again. Raises EnvironmentFault, BadInput."""
        settings = self._settings
        self._prepare_run_dir()
        if settings.tls is not None:
            server_context(settings.tls)  # what is wrong with the files is known at the start
        try:
            await self._stomp.start(settings.listen_host, settings.listen_port)
        except OSError as error:
            raise EnvironmentFault(
                f"can't listen on {settings.listen_host}:{settings.listen_port}:"
                f" {error.strerror or error}"
            ) from error
        qemu = await read_qemu(settings.qemu_binary)
        accelerator, reason = await choose_accelerator(
            settings.accelerator, qemu.path, settings.run_dir
        )
        log.info("accelerator %s: %s", accelerator, reason)
        threads = StorageThreads()
        storage = StorageVerbs(settings.domain_paths, threads, settings.storage_deadline_seconds)
        leases, lockspaces = _leases(settings, threads)
        host = VmHost(
            run_dir=settings.run_dir,
            qemu=qemu,
            accelerator=accelerator,
            networks=settings.networks,
            domain_paths=storage.paths,
            leases=leases,
            storage_deadline_seconds=settings.storage_deadline_seconds,
            threads=threads,
            pause_times=settings.pause_times,
        )
        self._vms = Vms(host, self._clock, self._emit)
        self._monitors = Monitors(
            storage.paths,
            threads,
            self._clock,
            interval_seconds=settings.monitor_interval_seconds,
            deadline_seconds=settings.storage_deadline_seconds,
            lockspaces=lockspaces,
        )
        self._handlers = Handlers(
            self._vms,
            host,
            storage,
            self._monitors,
            self._tasks,
            self._samples,
            self._clock.wall,
            # Threads of its own: it is asked while all of the storage's hang.
            HaInfo(StorageThreads(), settings.ha),
            *([lockspaces.initialise_volume] if lockspaces else []),
        )
        self._samples.start()
        await self._vms.recover()
        self._handlers.is_recovering = False

    async def stop(self) -> None:
        """End the connections and let go of the VMs, which go on."""
        await self._stomp.close()
        await self._samples.stop()
        await self._tasks.stop()
        if self._monitors is not None:
            await self._monitors.stop()
        if self._vms is not None:
            await self._vms.close()

    def _prepare_run_dir(self) -> None:
        run_dir = self._settings.run_dir
        if len(os.fsencode(run_dir)) + _SOCKET_PATH_BYTES > MAX_SOCKET_PATH_BYTES:
            room = MAX_SOCKET_PATH_BYTES - _SOCKET_PATH_BYTES
            raise BadInput(
                f"longer than {room} bytes, no room for socket names", where=str(run_dir)
            )
        try:
            run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentFault(f"{run_dir}: {error.strerror}") from error

    def _emit(self, uuid: str, fields: Mapping[str, Any]) -> None:
        if self._handlers is None or self._handlers.is_recovering:
            return  # as VDSM: no events before it answers
        notify_time = vdsm_clock_ms(self._clock.now())
        params = {uuid: dict(fields), "notify_time": notify_time}
        event = jsonrpc.Event(f"|virt|VM_status|{uuid}", params)
        self._stomp.publish_event(jsonrpc.encode_event(event))

    async def _answer(self, body: bytes) -> tuple[Optional[bytes], bool]:
        """Carry out a request's body. A batch of several is executed and not answered, as VDSM
        does; a notification is too, but unlike VDSM we live on.
        """
        try:
            messages = jsonrpc.decode_batch(body)
        except jsonrpc.JsonRpcError as error:
            info = jsonrpc.RpcErrorInfo(error.code, error.what)
            return jsonrpc.encode_response(jsonrpc.Response(None, error=info)), False
        replies = [
            await self._call(message)
            for message in messages
            if isinstance(message, (jsonrpc.Request, jsonrpc.Event))
        ]
        if len(messages) != 1 or not replies or isinstance(messages[0], jsonrpc.Event):
            return None, True
        return jsonrpc.encode_response(replies[0]), True

    async def _call(self, message: jsonrpc.Message) -> jsonrpc.Response:
        assert isinstance(message, (jsonrpc.Request, jsonrpc.Event))
        message_id = message.id if isinstance(message, jsonrpc.Request) else None
        try:
            if self._handlers is None:
                raise Refusal(
                    VdsmCode.RECOVERY_IN_PROGRESS, "Recovering from crash or Initializing"
                )
            if message.method == "VM.create" and not self._settings.runs_vms:
                raise Refusal(
                    VdsmCode.CANNOT_CREATE_VM, "VMs of this host are libvirt's: [host] hypervisor"
                )
            result = await self._handlers.call(message.method, message.params)
        except Refusal as refusal:
            log.debug("%s: %d %s", message.method, refusal.code, refusal.message)
            info = jsonrpc.RpcErrorInfo(refusal.code, refusal.message)
            return jsonrpc.Response(message_id, error=info)
        return jsonrpc.Response(message_id, result)


def _leases(
    settings: ServerSettings, threads: StorageThreads
) -> tuple[VmLeases, Optional[HostIds]]:
    """Return the kind of the VMs' leases, and the lockspaces that it needs."""
    if settings.vm_lease != "sanlock":
        return LockFileLeases(threads, settings.storage_deadline_seconds), None
    io_timeout_seconds = settings.sanlock_io_timeout_seconds
    return SanlockLeases(threads, io_timeout_seconds), HostIds(io_timeout_seconds)


# Before `ha-agent deploy` a host has none of these, and deploy speaks to this program.
_NOBODY = "00000000-0000-0000-0000-000000000000"
_NOT_NEEDED = {
    "host.id": "1",
    "engine.vm_uuid": _NOBODY,
    "engine.health_url": "http://127.0.0.1/",
    "storage.domain_uuid": _NOBODY,
    "storage.domain_path": f"/nonexistent/{_NOBODY}",
    "storage.status_image": _NOBODY,
    "storage.status_volume": _NOBODY,
}


def settings_from(config: layers.Config) -> ServerSettings:
    """Return the settings that a configuration file says."""
    section = config.vdsm_server
    is_set_up = layers.NOT_SET not in config.origins.values()
    paths = tuple(section.domain_paths)
    if not is_set_up and config.origins["vdsm-server.domain_paths"] == "default":
        paths = ()  # those that are connected
    tls = TlsFiles(section.key_file, section.cert_file, section.ca_file)
    return ServerSettings(
        run_dir=run_folder(config.host.run_dir),
        domain_paths=paths,
        listen_host=section.listen_host,
        listen_port=section.listen_port,
        qemu_binary=section.qemu_binary,
        accelerator=section.accelerator,
        networks=section.networks,
        storage_deadline_seconds=config.storage.io_deadline_seconds,
        vm_lease=section.vm_lease,
        sanlock_io_timeout_seconds=config.sanlock.io_timeout_seconds,
        runs_vms=config.host.hypervisor == "vdsm",
        tls=tls if section.ssl else None,
        ha=HaPlace(config.broker.socket, config.host.id) if is_set_up else None,
    )


async def _started(vdsm: EmbeddedVdsm, stopping: asyncio.Event) -> bool:
    """Start, unless it is to stop before that is done, when QEMU does not answer for instance."""
    starting = asyncio.ensure_future(vdsm.start())
    waiting = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            return True
        return False
    finally:
        for task in (starting, waiting):
            task.cancel()
        await asyncio.gather(starting, waiting, return_exceptions=True)


async def _run(config: Config) -> bool:
    """Serve until told to stop, or to begin anew; return whether it is the latter."""
    readiness = Readiness()
    vdsm = EmbeddedVdsm(settings_from(config))
    loop = asyncio.get_running_loop()
    stopping, told_to_stop = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        told_to_stop.set()
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    reload = Reload(lambda: _check_files(config), readiness, stopping.set)
    reload.listen()
    try:
        if await _started(vdsm, stopping):
            readiness.ready()
            log.info("listening on port %d", vdsm.port, extra=logs.fields(DAEMON_STARTED))
        while not stopping.is_set():
            readiness.watchdog()
            readiness.status(vdsm.status)
            await wait_for_event(stopping, _STATUS_SECONDS)
        begins_anew = reload.asked and not told_to_stop.is_set()
        if not begins_anew:
            readiness.stopping()
        told = logs.fields(None if begins_anew else DAEMON_STOPPED)
        log.info("it ends; the VMs go on", extra=told)
    finally:
        await vdsm.stop()
    return reload.asked and not told_to_stop.is_set()


def _check_files(config: Config) -> None:
    new = layers.load(config.paths, os.environ, not_needed=_NOT_NEEDED)
    # The VMs are found again by what is in its run directory.
    refuse_other(config, new, ("host.run_dir",))
    tls = settings_from(new).tls
    if tls is not None:
        server_context(tls)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the embedded VDSM until SIGTERM or SIGINT. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="ha-vdsm", description="VDSM's verbs, with QEMU behind")
    parser.add_argument("--config", type=Path, help="configuration file")
    arguments = parser.parse_args(argv)
    try:
        paths = [arguments.config] if arguments.config else []
        config = layers.load(paths, os.environ, not_needed=_NOT_NEEDED)
    except layers.ConfigError as error:
        sys.stderr.write(f"ha-vdsm: {error}\n")
        return 2
    try:
        context = {"host_id": config.host.id or None}
        logs.setup(config.log.level, "ha-vdsm", context=context, folder=config.log.folder)
        if asyncio.run(_run(config)):
            begin_anew()
    except HaAgentError as error:
        sys.stderr.write(f"ha-vdsm: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
