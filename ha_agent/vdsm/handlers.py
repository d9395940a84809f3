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
from typing import Any, Callable, Optional

from ha_agent.errors import HaAgentError
from ha_agent.instant import WallTime
from ha_agent.vdsm.errors import VdsmCode
from ha_agent.vdsm.host_stats import CpuUse, capabilities, host_stats
from ha_agent.vdsm.jsonrpc import Params
from ha_agent.vdsm.monitors import Monitors
from ha_agent.vdsm.refusal import Refusal, general
from ha_agent.vdsm.storage_verbs import StorageVerbs
from ha_agent.vdsm.tasks import Tasks
from ha_agent.vdsm.vm_start import VmHost
from ha_agent.vdsm.vm_status import VmStatus
from ha_agent.vdsm.vms import Vms
from ha_agent.vdsm.volume_verbs import VolumeVerbs

log = logging.getLogger(__name__)

_TYPES: Mapping[str, tuple[type, ...]] = {
    "text": (str,),
    "number": (int,),
    "flag": (bool,),
    "list": (list,),
    "object": (dict,),
}

# VDSM has these only on a host whose pool is connected; the HA agent has no use for them.
_POOL_VERBS = {
    "Volume.delete", "Volume.getSize", "Image.delete", "Lease.create", "Lease.delete",
    "Lease.info", "Lease.status",
}  # fmt: skip
_SPM_VERBS = {"Host.getAllTasksStatuses", "Host.getAllTasksInfo"}


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
        wall: Callable[[], WallTime],
        make_lease: Callable[[Path], None] = lambda _volume: None,
    ) -> None:
        self.is_recovering = True
        self._vms = vms
        self._host = host
        self._storage = storage
        self._volumes = VolumeVerbs(storage, tasks, make_lease)
        self._tasks = tasks
        self._monitors = monitors
        self._wall = wall
        self._cpu = CpuUse()
        self._verbs = {**self._host_verbs(), **self._vm_verbs(), **self._storage_verbs()}
        self._verbs.update(self._writing_verbs())

    def _host_verbs(self) -> dict[str, _Verb]:
        return {
            "Host.ping2": _Verb(_nothing),
            "Host.ping": _Verb(_nothing),
            "Host.getStats": _Verb(self._stats),
            "Host.getCapabilities": _Verb(self._capabilities),
            "Host.getVMList": _Verb(self._vm_list, "fullStatus?:any vmList?:list onlyUUID?:any"),
            "Host.getAllVmStats": _Verb(lambda: [vm.stats() for vm in self._vms.all()]),
            "Host.dumpxmls": _Verb(self._xmls, "vmList?:list"),
            "Host.startMonitoringDomain": _Verb(self._start_monitor, "sdUUID:text hostID:number"),
            "Host.stopMonitoringDomain": _Verb(self._monitors.leave, "sdUUID:text"),
            "Host.getStorageRepoStats": _Verb(self._monitors.stats, "domains?:list"),
            "Host.getConnectedStoragePools": _Verb(lambda: []),
            "Host.getStorageDomains": _Verb(self._storage.domains),
        }

    def _vm_verbs(self) -> dict[str, _Verb]:
        return {
            "VM.create": _Verb(self._create, "vmID:text vmParams:object"),
            "VM.getStats": _Verb(lambda vm: [self._vms.get(vm).stats()], "vmID:text"),
            "VM.destroy": _Verb(self._destroy, "vmID:text gracefulAttempts?:number"),
            "VM.shutdown": _Verb(
                self._shutdown,
                "vmID:text delay?:number message?:text reboot?:any timeout?:number force?:any",
            ),
            "VM.pause": _Verb(self._pause, "vmID:text"),
            "VM.cont": _Verb(self._cont, "vmID:text"),
        }

    def _storage_verbs(self) -> dict[str, _Verb]:
        storage = self._storage
        volume = "storagepoolID:text storagedomainID:text imageID:text"
        servers = "storagepoolID:text domainType:number connectionParams:list"
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
            "StoragePool.connectStorageServer": _Verb(storage.connect_servers, servers),
            "StoragePool.disconnectStorageServer": _Verb(storage.disconnect_servers, servers),
        }

    def _writing_verbs(self) -> dict[str, _Verb]:
        volume = "volumeID:text storagepoolID:text storagedomainID:text imageID:text"
        made_of = "size:text volFormat:number preallocate:number diskType:text desc:text"
        sources = "srcImgUUID?:text srcVolUUID?:text"
        return {
            "Volume.create": _Verb(self._create_volume, f"{volume} {made_of} {sources}"),
            "Volume.setDescription": _Verb(
                self._volumes.set_description, f"{volume} description:text"
            ),
            "StoragePool.getSpmStatus": _Verb(self._volumes.spm_status, "storagepoolID:text"),
            "Task.getStatus": _Verb(self._tasks.status, "taskID:text"),
            "Task.clear": _Verb(self._tasks.clear, "taskID:text"),
        }

    async def call(self, method: str, params: Params) -> Any:
        """Carry out one call and return its result. Raises Refusal."""
        if self.is_recovering:
            raise Refusal(VdsmCode.RECOVERY_IN_PROGRESS, "Recovering from crash or Initializing")
        if method in _POOL_VERBS:
            raise Refusal(VdsmCode.POOL_NOT_CONNECTED, "Unknown pool id, pool not connected")
        if method in _SPM_VERBS:
            raise Refusal(VdsmCode.NOT_SPM, "Not SPM")
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

    def _stats(self) -> dict[str, Any]:
        vms = self._vms.all()
        active = [vm for vm in vms if vm.raw_status == VmStatus.UP]
        return {
            **host_stats(self._cpu, self._host.networks, self._wall()),
            "vmCount": len(vms),
            "vmActive": len(active),
            "vmMigrating": 0,
            "storageDomains": self._monitors.stats(),
        }

    def _capabilities(self) -> dict[str, Any]:
        return capabilities(self._host.networks, self._host.qemu, self._host.accelerator == "kvm")

    def _vm_list(self, _full: Any, wanted: Optional[list[Any]], _only: Any) -> list[Any]:
        vms = self._vms.all()
        return [vm.summary() for vm in vms if not wanted or vm.record.uuid in wanted]

    def _xmls(self, wanted: Optional[list[Any]]) -> dict[str, str]:
        vms = self._vms.all()
        return {
            vm.record.uuid: vm.record.xml for vm in vms if not wanted or vm.record.uuid in wanted
        }

    def _start_monitor(self, domain: str, host_id: int) -> None:
        self._monitors.start(domain, host_id)

    async def _create_volume(self, *arguments: Any) -> str:
        return await self._volumes.create(*arguments, wall=self._wall())

    # VMs

    def _create(self, _vm_id: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """VM.create: as in VDSM the id is the document's, and vmID is ignored."""
        xml = params.get("_srcDomXML") or params.get("xml")
        if not isinstance(xml, str):
            raise general("'xml'")
        return self._vms.create(xml)

    async def _destroy(self, vm_id: str, graceful_attempts: Optional[int]) -> None:
        await self._vms.destroy(vm_id, graceful=graceful_attempts is None or graceful_attempts > 0)

    async def _shutdown(
        self,
        vm_id: str,
        _delay: Optional[int],
        _message: Optional[str],
        reboot: Any,
        timeout_seconds: Optional[int],
        force: Any,
    ) -> None:
        """VM.shutdown. Delay and message are for a guest agent, which is not spoken to here."""
        await self._vms.get(vm_id).shutdown(timeout_seconds, _flag(force), _flag(reboot))

    async def _pause(self, vm_id: str) -> dict[str, Any]:
        await self._vms.get(vm_id).pause()
        return {"vmList": {}}

    async def _cont(self, vm_id: str) -> dict[str, Any]:
        await self._vms.get(vm_id).cont()
        return {"vmList": {}}


def _nothing() -> None:
    """Answer true: that it comes is the point."""


def _flag(value: Any) -> bool:
    """Read a boolean, also as the text that VDSM's tools send."""
    return value.strip().lower() == "true" if isinstance(value, str) else bool(value)
