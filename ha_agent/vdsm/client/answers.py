# SPDX-License-Identifier: Apache-2.0
"""What VDSM answers about the host and its storage, as values. Pure.

The shapes are those that really travel, where they differ from VDSM's schema (facts 2): many
numbers come as text. Reading is tolerant: unknown fields are ignored, a single odd field counts as
missing. Only an answer of another shape altogether is a BadInput. VMs are in vm_status.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ha_agent.errors import BadInput
from ha_agent.vdsm.errors import VdsmCode


@dataclass(frozen=True)
class HostStats:
    """From Host.getStats. None: not said, as for `networks_up` in the first 30 s of VDSM's life.

    `memory_free_mib` counts caches and reclaimable memory as free; `cpu_load` is the load
    average per VDSM's own reckoning; `networks_up` maps network and interface names to link state.
    """

    memory_free_mib: Optional[int]
    cpu_load: Optional[float]
    cpu_idle_percent: Optional[float]
    networks_up: Optional[Mapping[str, bool]]
    vm_count: Optional[int]


@dataclass(frozen=True)
class DomainVitals:
    """One monitored domain from Host.getStorageRepoStats.

    `acquired`: this host's sanlock host id is held, so VM leases can be taken. `actual`: checked
    since the monitor's start. `code` is 0 or VDSM's error code.
    """

    code: int
    valid: bool
    acquired: bool
    actual: bool
    delay_seconds: Optional[float]
    last_check_seconds_ago: Optional[float]
    version: Optional[int]


@dataclass(frozen=True)
class StorageDomainInfo:
    """From StorageDomain.getInfo; texts are "" when not said."""

    domain_id: str
    type: str
    name: str
    role: str
    pool_ids: tuple[str, ...]
    version: Optional[int]
    block_size_bytes: Optional[int]
    alignment_bytes: Optional[int]
    remote_path: str


@dataclass(frozen=True)
class VolumeInfo:
    """From Volume.getInfo. An OVF_STORE volume has JSON in its `description`."""

    volume_id: str
    image_id: str
    description: str
    format: str
    legality: str
    capacity_bytes: Optional[int]
    apparent_size_bytes: Optional[int]
    true_size_bytes: Optional[int]
    ctime_unix_seconds: Optional[int]
    disk_type: str = ""


@dataclass(frozen=True)
class HostCapabilities:
    """From Host.getCapabilities. None or empty: not said.

    `memory_mib` is all of the host's memory; `emulated_machines` are QEMU's machine types by
    name, aliases such as "q35" included; `cpu_flags` has kernel flags and "model_..." names.
    """

    memory_mib: Optional[int]
    cpu_threads: Optional[int]
    emulated_machines: frozenset[str]
    cpu_model: str
    cpu_flags: frozenset[str]


@dataclass(frozen=True)
class SpmStatus:
    """From StoragePool.getSpmStatus: the role of this host, and the host id of the SPM.

    `role` is "SPM", "Free" or "Contend"; `spm_id` None when no host is SPM.
    """

    role: str
    spm_id: Optional[int]

    @property
    def is_spm(self) -> bool:
        """Tell whether this host is the pool's manager."""
        return self.role == "SPM"


@dataclass(frozen=True)
class TaskStatus:
    """From Task.getStatus. `code` and `message` tell of a failure, 0 and "" otherwise."""

    state: str
    result: str
    code: int
    message: str

    @property
    def has_ended(self) -> bool:
        """Tell whether the task changes nothing any more."""
        return self.state == "finished"

    @property
    def has_succeeded(self) -> bool:
        """Tell whether the task did what it was for; a rolled back one has not."""
        return self.has_ended and self.result == "success"


def read_host_stats(answer: Any) -> HostStats:
    """Read Host.getStats."""
    stats = as_object(answer)
    networks = stats.get("network")
    return HostStats(
        memory_free_mib=integer(stats.get("memFree")),
        cpu_load=_number(stats.get("cpuLoad")),
        cpu_idle_percent=_number(stats.get("cpuIdle")),
        networks_up=_networks_up(networks) if isinstance(networks, Mapping) else None,
        vm_count=integer(stats.get("vmCount")),
    )


def read_storage_vitals(answer: Any) -> dict[str, DomainVitals]:
    """Read Host.getStorageRepoStats: domain id to vitals."""
    return {domain_id: _vitals(as_object(value)) for domain_id, value in as_object(answer).items()}


def read_domain_info(answer: Any) -> StorageDomainInfo:
    """Read StorageDomain.getInfo."""
    info = as_object(answer)
    pools = info.get("pool")
    return StorageDomainInfo(
        domain_id=text(info.get("uuid")),
        type=text(info.get("type")),
        name=text(info.get("name")),
        role=text(info.get("role")),
        pool_ids=tuple(read_ids(pools)) if pools is not None else (),
        version=integer(info.get("version")),
        block_size_bytes=integer(info.get("block_size")),
        alignment_bytes=integer(info.get("alignment")),
        remote_path=text(info.get("remotePath")),
    )


def read_volume_info(answer: Any) -> VolumeInfo:
    """Read Volume.getInfo."""
    info = as_object(answer)
    return VolumeInfo(
        volume_id=text(info.get("uuid")),
        image_id=text(info.get("image")),
        description=text(info.get("description")),
        format=text(info.get("format")),
        legality=text(info.get("legality")),
        capacity_bytes=integer(info.get("capacity")),
        apparent_size_bytes=integer(info.get("apparentsize")),
        true_size_bytes=integer(info.get("truesize")),
        ctime_unix_seconds=integer(info.get("ctime")),
        disk_type=text(info.get("disktype")),
    )


def read_host_capabilities(answer: Any) -> HostCapabilities:
    """Read Host.getCapabilities: memSize is MiB as text, cpuThreads a text, cpuFlags a list
    with commas, emulatedMachines a list (vdsm's host/caps.py).
    """
    capabilities = as_object(answer)
    machines = capabilities.get("emulatedMachines")
    return HostCapabilities(
        memory_mib=integer(capabilities.get("memSize")),
        cpu_threads=integer(capabilities.get("cpuThreads")),
        emulated_machines=frozenset(
            machine
            for machine in (machines if isinstance(machines, list) else ())
            if isinstance(machine, str)
        ),
        cpu_model=text(capabilities.get("cpuModel")),
        cpu_flags=frozenset(filter(None, text(capabilities.get("cpuFlags")).split(","))),
    )


def read_spm_status(answer: Any) -> SpmStatus:
    """Read StoragePool.getSpmStatus. An spmId below 1 is no host's."""
    status = as_object(answer)
    role = text(status.get("spmStatus"))
    if not role:
        raise BadInput("no spmStatus")
    spm_id = integer(status.get("spmId"))
    return SpmStatus(role, spm_id if spm_id is not None and spm_id > 0 else None)


def read_task_id(answer: Any) -> str:
    """Read the answer of a verb that begins a task."""
    if not isinstance(answer, str) or not answer:
        raise BadInput("no task id")
    return answer


def read_task_status(answer: Any) -> TaskStatus:
    """Read Task.getStatus."""
    status = as_object(answer)
    state = text(status.get("taskState"))
    if not state:
        raise BadInput("no taskState")
    return TaskStatus(
        state=state,
        result=text(status.get("taskResult")),
        code=integer(status.get("code")) or 0,
        message=text(status.get("message")),
    )


def read_path(answer: Any) -> str:
    """Read Image.prepare."""
    path = text(as_object(answer).get("path"))
    if not path:
        raise BadInput("no path")
    return path


def read_ids(answer: Any) -> list[str]:
    """Read a list of UUIDs."""
    if not isinstance(answer, list) or not all(isinstance(member, str) for member in answer):
        raise BadInput("no list of ids")
    return answer


def as_object(value: Any) -> Mapping[str, Any]:
    """Return a JSON object as it is. Raises BadInput for anything else."""
    if not isinstance(value, Mapping):
        raise BadInput(f"{type(value).__name__} where an object belongs")
    return value


def as_objects(value: Any) -> list[Mapping[str, Any]]:
    """Return a JSON array of objects as it is. Raises BadInput for anything else."""
    if not isinstance(value, list):
        raise BadInput(f"{type(value).__name__} where a list belongs")
    return [as_object(member) for member in value]


def _vitals(value: Mapping[str, Any]) -> DomainVitals:
    code = integer(value.get("code"))
    return DomainVitals(
        # Without a code nothing says that the domain is well.
        code=code if code is not None else int(VdsmCode.STORAGE_EXCEPTION),
        valid=value.get("valid") is True,
        acquired=value.get("acquired") is True,
        actual=value.get("actual") is True,
        delay_seconds=_number(value.get("delay")),
        last_check_seconds_ago=_number(value.get("lastCheck")),
        version=integer(value.get("version")),
    )


def _networks_up(networks: Mapping[str, Any]) -> dict[str, bool]:
    return {
        name: value["state"] == "up"
        for name, value in networks.items()
        if isinstance(value, Mapping) and isinstance(value.get("state"), str)
    }


def text(value: Any) -> str:
    """Return a text as it is, "" for anything else."""
    return value if isinstance(value, str) else ""


def _number(value: Any) -> Optional[float]:
    """Read a number that VDSM sends as such or as text, as cpuLoad "0.42"."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def integer(value: Any) -> Optional[int]:
    """Read a whole number that VDSM sends as such or as text; sizes are exact up to 8 PiB."""
    number = _number(value)
    return int(number) if number is not None and number.is_integer() else None
