# SPDX-License-Identifier: Apache-2.0
"""The VDSM verbs that we use, typed: arguments in, values out, one deadline each.

Verb and parameter names, and what really travels where it differs from VDSM's schema, are from
facts 2 and 3 (vdsm's lib/vdsm/api/vdsm-api.yml, and seen on its running code).

Every method raises `VdsmUnreachable`, `VdsmConnectionLost`, `DeadlineExceeded` (see errors.py),
`VdsmBadAnswer` for an answer of another shape than answers.py and vm_status.py know, and
`VdsmCallFailed` for the codes that its docstring does not map to a value. A method that says
"changes" must not be repeated blindly when `may_have_executed` is set: look first.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional, Protocol, TypeVar

from ha_agent.errors import BadInput
from ha_agent.vdsm import answers
from ha_agent.vdsm.errors import VdsmBadAnswer, VdsmCallFailed, VdsmCode
from ha_agent.vdsm.vm_status import VmStats, parse_vm_stats

# VDSM's own word for "no pool": paths are then under /run/vdsm/storage.
NO_POOL = "00000000-0000-0000-0000-000000000000"

# Seconds. Usual times on a real VDSM are in facts 4; storage may take its time.
_MEMORY_DEADLINE_SECONDS = 5.0  # answered from VDSM's memory
_HOST_STATS_DEADLINE_SECONDS = 10.0
_VM_DEADLINE_SECONDS = 30.0  # libvirt, and the disks' preparation
_STORAGE_DEADLINE_SECONDS = 60.0
_CONNECT_STORAGE_DEADLINE_SECONDS = 180.0  # a mount or an iSCSI login that has to time out

_Answer = TypeVar("_Answer")

_NOT_THERE = frozenset((VdsmCode.VOLUME_DOES_NOT_EXIST, VdsmCode.IMAGE_PATH_ERROR))


class DomainType(enum.IntEnum):
    """Storage domain types as they travel (vdsm's storage/sd.py); a name gives code 451."""

    NFS = 1
    FCP = 2
    ISCSI = 3
    LOCALFS = 4
    CIFS = 5
    POSIXFS = 6
    GLUSTERFS = 7


class Caller(Protocol):
    """What is needed of client.VdsmClient."""

    async def call(
        self,
        method: str,
        params: Mapping[str, Any],
        *,
        deadline_seconds: Optional[float] = None,
    ) -> Any:
        """Call a verb once and return its result."""


class Vdsm:
    """VDSM's verbs over a client."""

    def __init__(self, client: Caller) -> None:
        self._client = client

    async def ping2(self) -> None:
        """Host.ping2: return when VDSM answers requests at all."""
        await self._call("Host.ping2", {}, _MEMORY_DEADLINE_SECONDS)

    # VMs.

    async def vm_stats(self, vm_id: str) -> Optional[VmStats]:
        """VM.getStats: the VM's status; None when VDSM has no record of it (code 1)."""
        read = functools.partial(_only_vm, vm_id)
        try:
            return await self._ask("VM.getStats", {"vmID": vm_id}, _MEMORY_DEADLINE_SECONDS, read)
        except VdsmCallFailed as error:
            if error.code == VdsmCode.NO_SUCH_VM:
                return None
            raise

    async def vm_list(self) -> list[VmStats]:
        """Host.getVMList: id and libvirt's raw status of every VM, Down records too."""
        return await self._ask("Host.getVMList", {}, _MEMORY_DEADLINE_SECONDS, _all_vms)

    async def create_vm(self, vm_id: str, domain_xml: str) -> VmStats:
        """VM.create: define and start. Changes. Returns the record, status WaitForLaunch.

        The start goes on after the answer: its end shows in events and vm_stats, a lost lease
        as Down with a reason. `vm_id` must be the XML's <uuid>, which alone counts. Codes: 4
        when there is a record, perhaps Down (destroy it first); 9 for XML that VDSM refuses.
        """
        params = {"vmID": vm_id, "vmParams": {"xml": domain_xml}}
        read = functools.partial(parse_vm_stats, vm_id=vm_id)
        return await self._ask("VM.create", params, _VM_DEADLINE_SECONDS, read)

    async def shutdown_vm(
        self,
        vm_id: str,
        *,
        delay_seconds: Optional[int] = None,
        timeout_seconds: Optional[int] = None,
        message: str = "",
    ) -> bool:
        """VM.shutdown: begin an orderly shutdown. Changes. False: not here, or Down already.

        VDSM tries the guest's agents, then ACPI, each for `timeout_seconds`, after
        `delay_seconds` (its own defaults: 120 and 30); then it stays Down (exit reason 6) until
        destroyed. Code 4: the VM offers no way to shut it down.
        """
        params: dict[str, Any] = {"vmID": vm_id}
        if delay_seconds is not None:
            params["delay"] = delay_seconds
        if timeout_seconds is not None:
            params["timeout"] = timeout_seconds
        if message:
            params["message"] = message
        return await self._call_on_vm("VM.shutdown", params)

    async def destroy_vm(self, vm_id: str, *, graceful_attempts: int = 1) -> bool:
        """VM.destroy: end the VM now and forget it; also clears a Down record. Changes.

        Returns when the VM's process is gone. False: VDSM had no record of it. Code 42: QEMU
        does not die.
        """
        params = {"vmID": vm_id, "gracefulAttempts": graceful_attempts}
        return await self._call_on_vm("VM.destroy", params)

    async def continue_vm(self, vm_id: str) -> None:
        """VM.cont: let a paused VM run, taking its lease. Changes.

        Code 100 with "Failed to acquire lock" (vm_status.lock_failure reads it) when the lease is
        held elsewhere: the VM stays paused. Code 1: not here.
        """
        await self._call("VM.cont", {"vmID": vm_id}, _VM_DEADLINE_SECONDS)

    # The host.

    async def host_stats(self) -> answers.HostStats:
        """Host.getStats: free memory, CPU and links."""
        return await self._ask(
            "Host.getStats", {}, _HOST_STATS_DEADLINE_SECONDS, answers.read_host_stats
        )

    # Storage.

    async def connect_storage_server(
        self, domain_type: DomainType, connections: Sequence[Mapping[str, Any]]
    ) -> None:
        """StoragePool.connectStorageServer: mount or log in. Changes; harmless to repeat.

        `connections` are VDSM's connection objects: "id", and by type "connection", "port",
        "iqn", "mnt_options", ... (facts 2). VDSM reports each connection's failure inside its
        answer; the first one is raised here as VdsmCallFailed with that status as its code.
        """
        verb = "StoragePool.connectStorageServer"
        params = {
            "storagepoolID": NO_POOL,
            "domainType": int(domain_type),
            "connectionParams": [dict(connection) for connection in connections],
        }
        statuses = await self._ask(
            verb, params, _CONNECT_STORAGE_DEADLINE_SECONDS, answers.read_connection_statuses
        )
        for connection_id, status in statuses:
            if status != 0:
                raise VdsmCallFailed(verb, status, f"connection {connection_id} failed")

    async def start_monitoring_domain(self, domain_id: str, host_id: int) -> None:
        """Host.startMonitoringDomain: watch the domain and acquire our sanlock host id there.

        Returns at once; `storage_vitals` shows `acquired` after 30 to 40 s the first time. No
        effect when monitored already, even under another host id. A restart of vdsmd forgets it.
        """
        params = {"sdUUID": domain_id, "hostID": host_id}
        await self._call("Host.startMonitoringDomain", params, _STORAGE_DEADLINE_SECONDS)

    async def stop_monitoring_domain(self, domain_id: str) -> bool:
        """Host.stopMonitoringDomain: release the host id. Changes.

        False: the engine has attached the domain to a pool (code 900), and VDSM keeps it.
        """
        verb = "Host.stopMonitoringDomain"
        try:
            await self._call(verb, {"sdUUID": domain_id}, _STORAGE_DEADLINE_SECONDS)
        except VdsmCallFailed as error:
            if error.code == VdsmCode.DOMAIN_IS_MEMBER_OF_POOL:
                return False
            raise
        return True

    async def storage_vitals(
        self, domain_ids: Sequence[str] = ()
    ) -> dict[str, answers.DomainVitals]:
        """Host.getStorageRepoStats: monitored domains, of `domain_ids` when there are any.

        A domain that is not monitored is missing in the result.
        """
        params = {"domains": list(domain_ids)} if domain_ids else {}
        return await self._ask(
            "Host.getStorageRepoStats",
            params,
            _MEMORY_DEADLINE_SECONDS,
            answers.read_storage_vitals,
        )

    async def domain_info(self, domain_id: str) -> answers.StorageDomainInfo:
        """StorageDomain.getInfo. Code 358: no such domain is visible here."""
        params = {"storagedomainID": domain_id}
        return await self._ask(
            "StorageDomain.getInfo", params, _STORAGE_DEADLINE_SECONDS, answers.read_domain_info
        )

    async def domain_images(self, domain_id: str) -> list[str]:
        """StorageDomain.getImages: the ids of all images on the domain."""
        params = {"storagedomainID": domain_id}
        return await self._ask(
            "StorageDomain.getImages", params, _STORAGE_DEADLINE_SECONDS, answers.read_ids
        )

    async def image_volumes(
        self, domain_id: str, image_id: str, *, pool_id: str = NO_POOL
    ) -> list[str]:
        """StorageDomain.getVolumes: the ids of an image's volumes."""
        params = _image_params(pool_id, domain_id, image_id)
        return await self._ask(
            "StorageDomain.getVolumes", params, _STORAGE_DEADLINE_SECONDS, answers.read_ids
        )

    async def volume_info(
        self, domain_id: str, image_id: str, volume_id: str, *, pool_id: str = NO_POOL
    ) -> Optional[answers.VolumeInfo]:
        """Volume.getInfo; None when volume or image is not there (codes 201, 254)."""
        params = {**_image_params(pool_id, domain_id, image_id), "volumeID": volume_id}
        try:
            return await self._ask(
                "Volume.getInfo", params, _STORAGE_DEADLINE_SECONDS, answers.read_volume_info
            )
        except VdsmCallFailed as error:
            if error.code in _NOT_THERE:
                return None
            raise

    async def prepare_image(
        self, domain_id: str, image_id: str, volume_id: str, *, pool_id: str = NO_POOL
    ) -> str:
        """Image.prepare: make a volume readable on this host and return its path.

        Without a pool the path is /run/vdsm/storage/<domain>/<image>/<volume>. Changes; harmless
        to repeat. Codes 201 and 254: no such volume, no such image.
        """
        params = {**_image_params(pool_id, domain_id, image_id), "volumeID": volume_id}
        return await self._ask(
            "Image.prepare", params, _STORAGE_DEADLINE_SECONDS, answers.read_path
        )

    async def teardown_image(
        self, domain_id: str, image_id: str, volume_id: str = "", *, pool_id: str = NO_POOL
    ) -> None:
        """Image.teardown: undo `prepare_image`. Changes; harmless to repeat."""
        params = _image_params(pool_id, domain_id, image_id)
        if volume_id:
            params["volumeID"] = volume_id
        await self._call("Image.teardown", params, _STORAGE_DEADLINE_SECONDS)

    # Calling.

    async def _call(self, verb: str, params: Mapping[str, Any], deadline_seconds: float) -> Any:
        return await self._client.call(verb, params, deadline_seconds=deadline_seconds)

    async def _ask(
        self,
        verb: str,
        params: Mapping[str, Any],
        deadline_seconds: float,
        read: Callable[[Any], _Answer],
    ) -> _Answer:
        answer = await self._call(verb, params, deadline_seconds)
        try:
            return read(answer)
        except BadInput as error:
            raise VdsmBadAnswer(verb, str(error)) from error

    async def _call_on_vm(self, verb: str, params: Mapping[str, Any]) -> bool:
        try:
            await self._call(verb, params, _VM_DEADLINE_SECONDS)
        except VdsmCallFailed as error:
            if error.code == VdsmCode.NO_SUCH_VM:
                return False
            raise
        return True


def _image_params(pool_id: str, domain_id: str, image_id: str) -> dict[str, str]:
    return {"storagepoolID": pool_id, "storagedomainID": domain_id, "imageID": image_id}


def _all_vms(answer: Any) -> list[VmStats]:
    return [parse_vm_stats(value) for value in answers.as_objects(answer)]


def _only_vm(vm_id: str, answer: Any) -> VmStats:
    values = answers.as_objects(answer)
    if len(values) != 1:
        raise BadInput(f"{len(values)} VMs, not one")
    return parse_vm_stats(values[0], vm_id=vm_id)
