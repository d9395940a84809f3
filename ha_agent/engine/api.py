# SPDX-License-Identifier: Apache-2.0
"""The engine's API as this project uses it: a call is one request, an answer a value of views.py.

It must not wait, retry or decide. What an action answers is not believed to be its end: the
engine goes on working, and who called looks again.

Two things of the engine's are used for safety (BackendStorageDomainsResource of ovirt-engine):
a file domain is imported *without a name*. Where the engine finds a domain at the connection it
takes the name from there; where it finds none it would make and format a new one, but for that it
requires a name, and so refuses. A block domain is sent with `import` and its id, and is refused
when no volume group has that id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from ha_agent.engine.faults import EngineNotFound
from ha_agent.engine.sdk import EngineLink
from ha_agent.engine.views import (
    Cluster,
    Connection,
    DataCenter,
    Disk,
    Domain,
    Host,
    HostedEngine,
    Vm,
)

INTERVAL_OPTION = "OvfUpdateIntervalInMinutes"


class Engine:
    """Asks one engine. Every call raises EngineFault and its kinds, and DeadlineExceeded."""

    def __init__(self, link: EngineLink) -> None:
        self._link = link

    async def product(self) -> str:
        """Log in and return name and version of what answers."""
        root = await self._link.call("the API", lambda system: system.get())
        info = getattr(root, "product_info", None)
        if info is None:
            return "an engine that does not tell its version"
        version = getattr(info.version, "full_version", None) or "without a version"
        return f"{info.name or 'oVirt Engine'} {version}"

    # What there is -----------------------------------------------------------------------

    async def data_centers(self) -> tuple[DataCenter, ...]:
        """Return all data centres that the user may see."""
        found = await self._link.call(
            "the list of data centres", lambda system: system.data_centers_service().list()
        )
        return tuple(DataCenter(one.id, one.name or "", _word(one.status)) for one in found)

    async def clusters(self) -> tuple[Cluster, ...]:
        """Return all clusters that the user may see."""
        found = await self._link.call(
            "the list of clusters", lambda system: system.clusters_service().list()
        )
        return tuple(Cluster(one.id, one.name or "", _id(one.data_center)) for one in found)

    async def hosts(self) -> tuple[Host, ...]:
        """Return all hosts, with what the engine knows of their high availability."""
        found = await self._link.call(
            # Without all_content the engine leaves hosted_engine out.
            "the list of hosts",
            lambda system: system.hosts_service().list(all_content=True),
        )
        return tuple(
            Host(
                id=one.id,
                name=one.name or "",
                address=one.address or "",
                status=_word(one.status),
                cluster_id=_id(one.cluster),
                hosted_engine=_hosted_engine(one.hosted_engine),
            )
            for one in found
        )

    async def domain(self, domain_uuid: str) -> Optional[Domain]:
        """Return the storage domain, None when the engine does not know it."""
        what = f"storage domain {domain_uuid}"

        def ask(system: Any) -> Any:
            service = system.storage_domains_service().storage_domain_service(domain_uuid)
            return service.get()

        try:
            found = await self._link.call(what, ask)
        except EngineNotFound:
            return None
        centers = [_id(one) for one in found.data_centers or ()] or [_id(found.data_center)]
        if not centers[0]:
            return Domain(found.id, found.name or "", "", _word(found.status) or "unattached")

        def ask_attached(system: Any) -> Any:
            center = system.data_centers_service().data_center_service(centers[0])
            return center.storage_domains_service().storage_domain_service(domain_uuid).get()

        try:
            attached = await self._link.call(what, ask_attached)
        except EngineNotFound:  # detached between the two answers
            return Domain(found.id, found.name or "", "", "unattached")
        return Domain(found.id, found.name or "", centers[0], _word(attached.status))

    async def connections(self) -> tuple[Connection, ...]:
        """Return all storage connections that the engine keeps."""
        found = await self._link.call(
            "the list of storage connections",
            lambda system: system.storage_connections_service().list(),
        )
        return tuple(
            Connection(one.id, _word(one.type), one.address or "", one.path or "") for one in found
        )

    async def vm(self, vm_uuid: str) -> Optional[Vm]:
        """Return the VM with that id, None when none is registered."""
        try:
            found = await self._link.call(
                f"VM {vm_uuid}", lambda system: system.vms_service().vm_service(vm_uuid).get()
            )
        except EngineNotFound:
            return None
        return _vm(found)

    async def vms_called(self, name: str) -> tuple[Vm, ...]:
        """Return the registered VMs of that name."""
        found = await self._link.call(
            f"the VMs of the name {name}",
            lambda system: system.vms_service().list(search=f'name="{name}"'),
        )
        return tuple(_vm(one) for one in found if one.name == name)

    async def unregistered_vms(self, domain_uuid: str) -> tuple[Vm, ...]:
        """Return the VMs that the engine read from the domain's OVF_STORE and does not run yet."""

        def ask(system: Any) -> Any:
            service = system.storage_domains_service().storage_domain_service(domain_uuid)
            return service.vms_service().list(unregistered=True)

        return tuple(_vm(one) for one in await self._link.call("the unregistered VMs", ask))

    async def disks(self, domain_uuid: str) -> tuple[Disk, ...]:
        """Return the storage domain's disks."""

        def ask(system: Any) -> Any:
            service = system.storage_domains_service().storage_domain_service(domain_uuid)
            return service.disks_service().list()

        found = await self._link.call("the list of the domain's disks", ask)
        return tuple(Disk(one.id, _word(one.status), _word(one.content_type)) for one in found)

    async def ovf_disks(self, domain_uuid: str) -> tuple[Disk, ...]:
        """Return the disks that the engine keeps the domain's OVF_STORE in."""
        return tuple(
            disk for disk in await self.disks(domain_uuid) if disk.content_type == "ovf_store"
        )

    async def disk_ids_of(self, vm_uuid: str) -> frozenset[str]:
        """Return the ids of a registered VM's disks, on whatever storage (an attachment has its
        disk's id)."""

        def ask(system: Any) -> Any:
            service = system.vms_service().vm_service(vm_uuid)
            return service.disk_attachments_service().list()

        return frozenset(
            one.id for one in await self._link.call("the list of the VM's disks", ask)
        )

    async def ovf_interval_minutes(self) -> Optional[int]:
        """Return how often the engine writes the OVF_STORE; None when it does not tell.

        Options are read-only in the API (SystemOptionService has `get` alone).
        """

        def ask(system: Any) -> Any:
            return system.options_service().option_service(INTERVAL_OPTION).get()

        try:
            option = await self._link.call(f"the option {INTERVAL_OPTION}", ask)
        except EngineNotFound:
            return None
        for value in option.values or ():
            if (value.value or "").strip().isdigit():
                return int(value.value)
        return None

    # What is asked for -------------------------------------------------------------------

    async def import_domain(
        self, domain_uuid: str, storage: Mapping[str, str], connection_id: str, host_id: str
    ) -> str:
        """Have the engine import the domain through a host; return the id of what it imported.

        `storage` is from storage.host_storage. `connection_id` is that of a connection which the
        engine keeps already, or "".
        """
        types = self._link.types
        fields: dict[str, Any] = dict(storage)
        fields["type"] = types.StorageType(fields["type"])
        if "nfs_version" in fields:
            fields["nfs_version"] = types.NfsVersion(fields["nfs_version"])
        if connection_id:
            fields = {"id": connection_id, "type": fields["type"]}
        wanted = types.StorageDomain(
            id=domain_uuid,
            type=types.StorageDomainType.DATA,
            import_=True,
            host=types.Host(id=host_id),
            storage=types.HostStorage(**fields),
        )
        made = await self._link.call(
            "the import of the storage domain",
            lambda system: system.storage_domains_service().add(wanted),
        )
        return str(made.id)

    async def attach(self, domain_uuid: str, data_center_id: str) -> None:
        """Attach the domain to a data centre; the engine activates it then."""
        wanted = self._link.types.StorageDomain(id=domain_uuid)

        def ask(system: Any) -> None:
            center = system.data_centers_service().data_center_service(data_center_id)
            center.storage_domains_service().add(wanted)

        await self._link.call("the attachment of the storage domain", ask)

    async def activate(self, domain_uuid: str, data_center_id: str) -> None:
        """Activate a domain that is in maintenance or inactive."""

        def ask(system: Any) -> None:
            center = system.data_centers_service().data_center_service(data_center_id)
            center.storage_domains_service().storage_domain_service(domain_uuid).activate()

        await self._link.call("the activation of the storage domain", ask)

    async def register(self, domain_uuid: str, vm_uuid: str, cluster_id: str) -> None:
        """Register the VM from the OVF_STORE, with all of its disks or not at all."""
        cluster = self._link.types.Cluster(id=cluster_id)

        def ask(system: Any) -> None:
            service = system.storage_domains_service().storage_domain_service(domain_uuid)
            vm = service.vms_service().vm_service(vm_uuid)
            vm.register(cluster=cluster, allow_partial_import=False)

        await self._link.call("the registration of the engine VM", ask)

    async def protect(self, vm_uuid: str) -> None:
        """Set the VM's delete protection."""
        wanted = self._link.types.Vm(delete_protected=True)

        def ask(system: Any) -> None:
            system.vms_service().vm_service(vm_uuid).update(wanted)

        await self._link.call("the delete protection of the engine VM", ask)

    async def update_ovf_store(self, domain_uuid: str) -> None:
        """Have the engine write the domain's OVF_STORE now, whether or not it sees a need."""

        def ask(system: Any) -> None:
            service = system.storage_domains_service().storage_domain_service(domain_uuid)
            service.update_ovf_store()

        await self._link.call("the update of the OVF_STORE", ask)


def _word(value: Any) -> str:
    """Return an enumeration's word; "" for one that this SDK does not know."""
    return str(value.value) if value is not None else ""


def _id(link: Any) -> str:
    return str(link.id or "") if link is not None else ""


def _vm(one: Any) -> Vm:
    return Vm(
        id=one.id,
        name=one.name or "",
        status=_word(one.status),
        cluster_id=_id(one.cluster),
        delete_protected=bool(one.delete_protected),
    )


def _hosted_engine(one: Any) -> Optional[HostedEngine]:
    if one is None:
        return None
    return HostedEngine(
        configured=bool(one.configured),
        active=bool(one.active),
        score=int(one.score or 0),
        global_maintenance=bool(one.global_maintenance),
        local_maintenance=bool(one.local_maintenance),
    )
