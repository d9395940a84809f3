# SPDX-License-Identifier: Apache-2.0
"""The verbs of the embedded VDSM: the table from name and arguments to what is done.

Arguments come by name or by position. As with VDSM an unknown one is ignored and a missing one is
an internal error (-32603); one of a wrong type is -32602, where VDSM in its usual non-strict mode
fails somewhere later. A verb without a result answers true.

Until the VMs of an earlier life are found again every verb is refused with code 99.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from ha_agent.errors import HaAgentError
from ha_agent.instant import WallTime
from ha_agent.vdsm.errors import VdsmCode
from ha_agent.vdsm.jsonrpc import Params
from ha_agent.vdsm.refusal import Refusal, general
from ha_agent.vdsm.server.domain_verbs import DomainVerbs
from ha_agent.vdsm.server.ha_info import HaInfo
from ha_agent.vdsm.server.host_stats import HostSamples, capabilities, hardware_info, host_stats
from ha_agent.vdsm.server.monitors import Monitors
from ha_agent.vdsm.server.refused_verbs import check_refused
from ha_agent.vdsm.server.storage_verbs import StorageVerbs
from ha_agent.vdsm.server.tasks import Tasks
from ha_agent.vdsm.server.vm_verbs import VmVerbs
from ha_agent.vdsm.server.volume_verbs import VolumeVerbs
from ha_agent.vdsm.vm.start import VmHost
from ha_agent.vdsm.vm.vms import Vms
from ha_agent.vdsm.vm_status import VmStatus

log = logging.getLogger(__name__)

_TYPES: Mapping[str, tuple[type, ...]] = {
    "text": (str,),
    "number": (int,),
    "flag": (bool,),
    "list": (list,),
    "object": (dict,),
}


@dataclass(frozen=True)
class _Verb:
    """`signature` is "name:type" per argument in VDSM's order, "name?:type" when optional."""

    run: Callable[..., Any]
    signature: str = ""

    def bind(self, name: str, params: Params) -> list[Any]:
        """Return the arguments in order, None for one that is left out. Raises Refusal."""
        values = []
        for position, argument in enumerate(self.signature.split()):
            label, _, kind = argument.partition(":")
            optional = label.endswith("?")
            label = label.rstrip("?")
            if isinstance(params, Mapping):
                value = params.get(label)
            else:
                value = params[position] if position < len(params) else None
            if value is None and not optional:
                raise Refusal(VdsmCode.INTERNAL_ERROR, f"{name}: missing argument {label!r}")
            if value is not None:
                value = _checked(name, label, kind, value)
            values.append(value)
        return values


def _checked(verb: str, label: str, kind: str, value: Any) -> Any:
    if kind == "number" and isinstance(value, str) and value.lstrip("-").isdecimal():
        return int(value)  # VDSM calls int() on it
    if kind == "any":
        return value
    is_right = isinstance(value, _TYPES[kind])
    if not is_right or (kind == "number" and isinstance(value, bool)):
        raise Refusal(VdsmCode.INVALID_PARAMS, f"{verb}: argument {label!r} is no {kind}")
    return value


class Handlers:
    """Answers calls. `is_recovering` is set until the VMs are found again."""

    def __init__(
        self,
        vms: Vms,
        host: VmHost,
        storage: StorageVerbs,
        monitors: Monitors,
        tasks: Tasks,
        samples: HostSamples,
        wall: Callable[[], WallTime],
        ha: HaInfo,
        make_lease: Callable[[Path], None] = lambda _volume: None,
    ) -> None:
        self.is_recovering = True
        self._vms = vms
        self._host = host
        self._storage = storage
        self._volumes = VolumeVerbs(storage, tasks, make_lease)
        self._domains = DomainVerbs(storage)
        self._tasks = tasks
        self._monitors = monitors
        self._wall = wall
        self._samples = samples
        self._ha = ha
        self._vm_verbs = VmVerbs(vms)
        self._verbs = {**self._host_verbs(), **self._verbs_on_vms(), **self._storage_verbs()}
        self._verbs.update(self._writing_verbs())

    def _host_verbs(self) -> dict[str, _Verb]:
        vms = self._vm_verbs
        return {
            "Host.ping2": _Verb(_nothing),
            "Host.ping": _Verb(_nothing),
            "Host.getStats": _Verb(self._stats),
            "Host.getCapabilities": _Verb(self._capabilities),
            "Host.getHardwareInfo": _Verb(hardware_info),
            "Host.setHaMaintenanceMode": _Verb(self._ha.set_maintenance, "mode:text enabled:flag"),
            "Host.getVMList": _Verb(vms.summaries, "fullStatus?:any vmList?:list onlyUUID?:any"),
            "Host.getVMFullList": _Verb(vms.full_list, "vmList?:list"),
            "Host.getAllVmStats": _Verb(vms.all_stats),
            "Host.dumpxmls": _Verb(vms.definitions, "vmList?:list"),
            # No LUN of this host is any use to this VDSM.
            "Host.getDeviceList": _Verb(
                lambda *_: [], "storageType?:any guids?:any checkStatus?:any refresh?:any"
            ),
            "Host.startMonitoringDomain": _Verb(self._start_monitor, "sdUUID:text hostID:number"),
            "Host.stopMonitoringDomain": _Verb(self._monitors.leave, "sdUUID:text"),
            "Host.getStorageRepoStats": _Verb(self._monitors.stats, "domains?:list"),
            "Host.getConnectedStoragePools": _Verb(lambda: []),
            "Host.getStorageDomains": _Verb(self._storage.domains),
        }

    def _verbs_on_vms(self) -> dict[str, _Verb]:
        vms = self._vm_verbs
        ticket = "vmID:text password:text ttl:number existingConnAction:text params?:any"
        return {
            "VM.create": _Verb(vms.create, "vmID:text vmParams:object"),
            "VM.getStats": _Verb(vms.stats, "vmID:text"),
            "VM.destroy": _Verb(vms.destroy, "vmID:text gracefulAttempts?:number"),
            "VM.shutdown": _Verb(
                vms.shutdown,
                "vmID:text delay?:number message?:text reboot?:any timeout?:number force?:any",
            ),
            "VM.pause": _Verb(vms.pause, "vmID:text"),
            "VM.cont": _Verb(vms.cont, "vmID:text"),
            "VM.reset": _Verb(vms.reset, "vmID:text"),
            "VM.setDestroyOnReboot": _Verb(vms.set_destroy_on_reboot, "vmID:text"),
            "VM.updateDevice": _Verb(vms.update_device, "vmID:text params:object"),
            "VM.setTicket": _Verb(vms.set_ticket, ticket),
            "VM.migrate": _Verb(vms.migrate, "vmID:text params:object"),
            "VM.migrateCancel": _Verb(vms.no_migration, "vmID:text"),
            "VM.getMigrationStatus": _Verb(vms.no_migration, "vmID:text"),
            "VM.desktopLogin": _Verb(
                vms.no_guest_agent, "vmID:text domain:text username:text password:text"
            ),
            "VM.desktopLock": _Verb(vms.no_guest_agent, "vmID:text"),
            "VM.desktopLogoff": _Verb(vms.no_guest_agent, "vmID:text force:any"),
            "VM.hotplugLease": _Verb(vms.no_hotplug, "vmID:text lease:object"),
            "VM.hotunplugLease": _Verb(vms.no_hotplug, "vmID:text lease:object"),
        }

    def _storage_verbs(self) -> dict[str, _Verb]:
        storage = self._storage
        volume = "storagepoolID:text storagedomainID:text imageID:text"
        servers = "storagepoolID:text domainType:any connectionParams:list"
        return {
            "StorageDomain.getInfo": _Verb(storage.domain_info, "storagedomainID:text"),
            "StorageDomain.getStats": _Verb(storage.domain_stats, "storagedomainID:text"),
            "StorageDomain.getImages": _Verb(storage.images, "storagedomainID:text"),
            "StorageDomain.getVolumes": _Verb(
                storage.volumes, "storagedomainID:text storagepoolID:text imageID:text"
            ),
            "Image.getVolumes": _Verb(
                storage.image_volumes, "imageID:text storagepoolID:text storagedomainID:text"
            ),
            "Image.prepare": _Verb(
                storage.prepare_image, f"{volume} volumeID:text allowIllegal?:any"
            ),
            "Image.teardown": _Verb(storage.tear_down_image, f"{volume} volumeID?:text"),
            "Volume.getInfo": _Verb(storage.volume_info, f"volumeID:text {volume}"),
            "StorageDomain.validate": _Verb(storage.validate, "storagedomainID:text"),
            "StoragePool.connectStorageServer": _Verb(storage.connect_servers, servers),
            "StoragePool.disconnectStorageServer": _Verb(storage.disconnect_servers, servers),
            # None is ever connected.
            "StoragePool.disconnect": _Verb(_nothing),
        }

    def _writing_verbs(self) -> dict[str, _Verb]:
        volume = "volumeID:text storagepoolID:text storagedomainID:text imageID:text"
        made_of = "size:text volFormat:number preallocate:number diskType:text desc:text"
        sources = "srcImgUUID?:text srcVolUUID?:text"
        domain = "storagedomainID:text domainType:number typeArgs:text name:text"
        version = "domainClass:number version?:number blockSize?:number maxHosts?:number"
        return {
            "StorageDomain.create": _Verb(self._domains.create, f"{domain} {version}"),
            "Volume.create": _Verb(self._create_volume, f"{volume} {made_of} {sources}"),
            "Volume.setDescription": _Verb(
                self._volumes.set_description, f"{volume} description:text"
            ),
            "Task.getStatus": _Verb(self._tasks.status, "taskID:text"),
            "Task.getInfo": _Verb(self._tasks.info, "taskID:text"),
            "Task.clear": _Verb(self._tasks.clear, "taskID:text"),
        }

    async def call(self, method: str, params: Params) -> Any:
        """Carry out one call and return its result. Raises Refusal."""
        if self.is_recovering:
            raise Refusal(VdsmCode.RECOVERY_IN_PROGRESS, "Recovering from crash or Initializing")
        check_refused(method)
        verb = self._verbs.get(method)
        if verb is None:
            raise Refusal(
                VdsmCode.METHOD_NOT_FOUND,
                f"The method does not exist or is not available: {{'method': {method[:100]!r}}}",
            )
        arguments = verb.bind(method, params)
        try:
            result = verb.run(*arguments)
            if inspect.isawaitable(result):
                result = await result
        except Refusal:
            raise
        except HaAgentError as error:
            raise general(error) from error
        except Exception as error:
            # RPC dispatch: a fault of ours ends this call and no other (DESIGN, rule 7).
            log.exception("%s failed", method)
            raise Refusal(VdsmCode.INTERNAL_ERROR, f"Internal JSON-RPC error: {error}") from error
        return True if result is None else result

    # Host

    async def _stats(self) -> dict[str, Any]:
        ha = await self._ha.stats()
        vms = self._vms.all()
        active = [vm for vm in vms if vm.raw_status == VmStatus.UP]
        return {
            **host_stats(self._samples, self._host.networks, self._wall()),
            "vmCount": len(vms),
            "vmActive": len(active),
            "vmMigrating": 0,
            "storageDomains": self._monitors.stats(),
            **ha,
        }

    async def _capabilities(self) -> dict[str, Any]:
        host = self._host
        return {
            **capabilities(host.networks, host.qemu, host.accelerator == "kvm"),
            "hostedEngineDeployed": await self._ha.is_deployed(),
        }

    def _start_monitor(self, domain: str, host_id: int) -> None:
        self._monitors.start(domain, host_id)

    async def _create_volume(self, *arguments: Any) -> str:
        return await self._volumes.create(*arguments, wall=self._wall())


def _nothing() -> None:
    """Answer true: that it comes is the point."""
