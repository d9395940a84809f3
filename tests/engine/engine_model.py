# SPDX-License-Identifier: Apache-2.0
"""A small engine: data centres, hosts, storage domains, VMs, and what requests do to them.

Element names, statuses and what an action needs are those of the published API model
(oVirt/ovirt-engine-api-model) and of the engine's REST layer (BackendStorageDomainsResource and
its neighbours). What the engine does while nobody looks happens here when it is looked at:
a state that passes lasts for `polls` looks.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from typing import Callable, Optional

Answer = tuple[int, Optional[ET.Element]]

CENTER, CLUSTER, HOST = "dc-1", "cl-1", "ho-1"
DOMAIN = "00000000-0000-4000-8000-000000000002"
VM = "00000000-0000-4000-8000-000000000001"
DISK = "the-vm's"
NFS = ("nfs", "192.0.2.1", "/exports/he")


class Refusal(Exception):
    """The engine says no: an HTTP status and a fault."""

    def __init__(self, code: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.answer = element("fault", {}, reason=reason, detail=detail)


class Passing:
    """A status that changes when it has been looked at often enough."""

    def __init__(self, now: str) -> None:
        self.now = now
        self.later: list[str] = []

    def go(self, way: str, looks: int, end: str) -> None:
        """Be `way` for that many looks, and `end` then."""
        self.now, self.later = (way, [way] * (looks - 1) + [end]) if looks else (end, [])

    def look(self) -> str:
        """Return the status, and let time pass."""
        seen = self.now
        if self.later:
            self.now = self.later.pop(0)
        return seen


@dataclass
class FakeHost:
    name: str
    status: Passing
    cluster: str = CLUSTER
    address: str = ""
    score: int = 0
    configured: bool = False


@dataclass
class FakeDomain:
    name: str
    status: Passing
    center: str = ""


@dataclass
class FakeVm:
    name: str
    status: Passing
    cluster: str = CLUSTER
    protected: bool = False
    disks: tuple[str, ...] = (DISK,)


@dataclass
class FakeCopy:
    """A copy of the OVF_STORE: disk and volume in one."""

    status: Passing = field(default_factory=lambda: Passing("ok"))
    date: int = 0


def element(tag: str, attributes: dict[str, str], **children: object) -> ET.Element:
    """Return an element with text children; those that are None are left out."""
    made = ET.Element(tag, attributes)
    for name, value in children.items():
        if value is not None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            ET.SubElement(made, name).text = text
    return made


def _many(tag: str, members: list[ET.Element]) -> Answer:
    made = ET.Element(tag)
    made.extend(members)
    return 200, made


class Model:
    """All that the engine knows, and what lies on the storage. Tests change it as they like."""

    def __init__(self, polls: int = 2) -> None:
        self.polls = polls
        self.centers = {CENTER: ("Default", "up")}
        self.clusters = {CLUSTER: ("Default", CENTER)}
        self.hosts = {HOST: FakeHost("alpha", Passing("up"))}
        self.domains: dict[str, FakeDomain] = {}
        self.connections: dict[str, tuple[str, str, str]] = {}
        self.vms: dict[str, FakeVm] = {}
        self.options = {"OvfUpdateIntervalInMinutes": "60"}
        # What is on the storage, whether or not the engine knows it.
        self.on_storage: dict[tuple[str, str, str], str] = {NFS: DOMAIN}
        self.on_luns: set[str] = set()
        self.in_store = {VM: "HostedEngine"}
        self.unread_looks = 0  # so many looks the engine has not read the OVF_STORE yet
        self.copies = {"copy-1": FakeCopy(), "copy-2": FakeCopy()}
        self.formatted: list[str] = []  # domains that were made anew: never ours
        self.done: list[str] = []  # what was changed, in order
        # Words that an action takes, and does nothing.
        self.idle: set[str] = set()

    # Answers ---------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> Answer:
        """Do what a request asks. `path` is that below /ovirt-engine/api."""
        sent = ET.fromstring(body) if body else ET.Element("none")
        for wanted, pattern, handler in self._routes():
            match = re.fullmatch(pattern, path)
            if match and wanted == method:
                return handler(match, query, sent)
        raise Refusal(404, "Operation Failed", "Entity not found")

    def _routes(
        self,
    ) -> list[tuple[str, str, Callable[[re.Match[str], dict[str, str], ET.Element], Answer]]]:
        sd, dc = r"/storagedomains/([^/]+)", r"/datacenters/([^/]+)"
        return [
            ("GET", r"/?", lambda m, q, s: (200, _root())),
            ("GET", r"/datacenters", lambda m, q, s: self._centers()),
            ("GET", r"/clusters", lambda m, q, s: self._clusters()),
            ("GET", r"/hosts", lambda m, q, s: self._hosts(q)),
            ("GET", r"/storageconnections", lambda m, q, s: self._connections()),
            ("GET", r"/options/([^/]+)", lambda m, q, s: self._option(m[1])),
            ("POST", r"/storagedomains", lambda m, q, s: self._add_domain(s)),
            ("GET", sd, lambda m, q, s: (200, self._domain(m[1], in_center=False))),
            ("POST", dc + r"/storagedomains", lambda m, q, s: self._attach(m[1], s)),
            ("GET", dc + sd, lambda m, q, s: (200, self._domain(m[2], in_center=True))),
            ("POST", dc + sd + r"/activate", lambda m, q, s: self._activate(m[2])),
            ("GET", sd + r"/vms", lambda m, q, s: self._unregistered(m[1], q)),
            ("GET", sd + r"/disks", lambda m, q, s: self._disks(m[1])),
            ("POST", sd + r"/vms/([^/]+)/register", lambda m, q, s: self._register(m[1], m[2], s)),
            ("POST", sd + r"/updateovfstore", lambda m, q, s: self._update_store(m[1])),
            ("GET", r"/vms", lambda m, q, s: self._vms(q)),
            ("GET", r"/vms/([^/]+)", lambda m, q, s: (200, self._vm(m[1]))),
            ("GET", r"/vms/([^/]+)/diskattachments", lambda m, q, s: self._attachments(m[1])),
            ("PUT", r"/vms/([^/]+)", lambda m, q, s: self._change_vm(m[1], s)),
        ]

    def _centers(self) -> Answer:
        return _many(
            "data_centers",
            [
                element("data_center", {"id": key}, name=name, status=status)
                for key, (name, status) in self.centers.items()
            ],
        )

    def _clusters(self) -> Answer:
        members = []
        for key, (name, center) in self.clusters.items():
            one = element("cluster", {"id": key}, name=name)
            ET.SubElement(one, "data_center", {"id": center})
            members.append(one)
        return _many("clusters", members)

    def _hosts(self, query: dict[str, str]) -> Answer:
        members = []
        for key, host in self.hosts.items():
            one = element(
                "host", {"id": key}, name=host.name, address=host.address or host.name,
                status=host.status.look(),
            )  # fmt: skip
            ET.SubElement(one, "cluster", {"id": host.cluster})
            if query.get("all_content") == "true":
                one.append(
                    element(
                        "hosted_engine", {}, active=host.score > 0, configured=host.configured,
                        global_maintenance=False, local_maintenance=False, score=host.score,
                    )
                )  # fmt: skip
            members.append(one)
        return _many("hosts", members)

    def _connections(self) -> Answer:
        return _many(
            "storage_connections",
            [
                element("storage_connection", {"id": key}, type=kind, address=address, path=path)
                for key, (kind, address, path) in self.connections.items()
            ],
        )

    def _option(self, name: str) -> Answer:
        if name not in self.options:
            raise Refusal(404, "Operation Failed", "Entity not found")
        made = element("system_option", {"id": name}, name=name)
        values = ET.SubElement(made, "values")
        values.append(
            element("system_option_value", {}, value=self.options[name], version="general")
        )
        return 200, made

    # Storage domains -------------------------------------------------------------------------

    def _domain(self, key: str, *, in_center: bool) -> ET.Element:
        domain = self.domains.get(key)
        if domain is None or (in_center and not domain.center):
            raise Refusal(404, "Operation Failed", f"Entity not found: {key}")
        # Outside of its data centre a domain is unattached or has no status.
        status = domain.status.look() if in_center else None if domain.center else "unattached"
        made = element("storage_domain", {"id": key}, name=domain.name, status=status, type="data")
        if domain.center:
            centers = ET.SubElement(made, "data_centers")
            ET.SubElement(centers, "data_center", {"id": domain.center})
        return made

    def _add_domain(self, sent: ET.Element) -> Answer:
        storage, host = sent.find("storage"), sent.find("host")
        if storage is None or host is None or sent.findtext("type") != "data":
            raise Refusal(400, "Incomplete parameters", "StorageDomain [host.id|name, storage]")
        if self.hosts[host.get("id", "")].status.now != "up":
            raise Refusal(409, "Operation Failed", "[Cannot add Storage. Host is not up.]")
        kind = storage.findtext("type") or ""
        if kind in ("iscsi", "fcp"):
            found = sent.get("id") if sent.get("id") in self.on_luns else None
            if found is None or sent.findtext("import") != "true":
                raise Refusal(
                    404, "Storage Domain", f"Storage Domain id {sent.get('id')} Does not exists"
                )
        else:
            found = self._find_on_file_storage(kind, storage, sent)
        self.domains[found] = FakeDomain("hosted_storage", Passing("unattached"))
        self.done.append("import")
        return 201, self._domain(found, in_center=False)

    def _find_on_file_storage(self, kind: str, storage: ET.Element, sent: ET.Element) -> str:
        place = (kind, storage.findtext("address") or "", storage.findtext("path") or "")
        key = storage.get("id")
        if key is None:
            if place in self.connections.values():
                raise Refusal(
                    409, "Operation Failed",
                    "[Cannot add Storage Connection. Storage connection already exists.]",
                )  # fmt: skip
            key, made = f"connection-{len(self.connections)}", True
            self.connections[key] = place
        else:
            place, made = self.connections[key], False
        found = self.on_storage.get(place)
        if found is not None and found not in self.domains:
            return found
        if sent.findtext("name") is None:
            if made:
                del self.connections[key]
            raise Refusal(400, "Incomplete parameters", "StorageDomain [name] required for add")
        self.formatted.append(sent.findtext("name") or "")
        return "00000000-0000-4000-8000-00000000dead"

    def _attach(self, center: str, sent: ET.Element) -> Answer:
        key = sent.get("id", "")
        domain = self.domains.get(key)
        if domain is None or center not in self.centers:
            raise Refusal(404, "Operation Failed", "Entity not found")
        if domain.center:
            raise Refusal(
                409, "Operation Failed", "[Cannot attach Storage. Storage Domain is attached.]"
            )
        if "attach" not in self.idle:
            domain.center = center
            domain.status.go("locked", self.polls, "active")
            self.done.append("attach")
            return 201, self._domain(key, in_center=True)
        return 201, self._domain(key, in_center=False)

    def _activate(self, key: str) -> Answer:
        domain = self.domains[key]
        if domain.status.now not in ("maintenance", "inactive"):
            raise Refusal(
                409, "Operation Failed", f"[Cannot activate Storage. It is {domain.status.now}.]"
            )
        if "activate" not in self.idle:
            domain.status.go("activating", self.polls, "active")
            self.done.append("activate")
        return 200, element("action", {}, status="complete")

    def _active(self, key: str) -> FakeDomain:
        domain = self.domains.get(key)
        if domain is None:
            raise Refusal(404, "Operation Failed", "Entity not found")
        if not domain.center or domain.status.now != "active":
            raise Refusal(
                409, "Operation Failed", "[Cannot do this. The Storage Domain is not active.]"
            )
        return domain

    # VMs -------------------------------------------------------------------------------------

    def _unregistered(self, key: str, query: dict[str, str]) -> Answer:
        self._active(key)
        waiting = query.get("unregistered") == "true"
        if self.unread_looks > 0:
            self.unread_looks -= 1
            return _many("vms", [])
        names = {uuid: name for uuid, name in self.in_store.items() if uuid not in self.vms}
        return _many(
            "vms",
            [element("vm", {"id": uuid}, name=name) for uuid, name in names.items() if waiting],
        )

    def _register(self, key: str, uuid: str, sent: ET.Element) -> Answer:
        self._active(key)
        cluster = sent.find("cluster")
        if cluster is None or cluster.get("id") not in self.clusters:
            raise Refusal(400, "Incomplete parameters", "Action [cluster.id|name] required")
        if uuid in self.vms or uuid not in self.in_store:
            raise Refusal(409, "Operation Failed", "[Cannot import VM. VM's ID is in use.]")
        if any(vm.name == self.in_store[uuid] for vm in self.vms.values()):
            raise Refusal(409, "Operation Failed", "[Cannot import VM. The name is in use.]")
        if "register" not in self.idle:
            vm = FakeVm(self.in_store[uuid], Passing("down"), cluster.get("id", ""))
            vm.status.go("image_locked", self.polls, "up")
            self.vms[uuid] = vm
            self.done.append("register")
        return 200, element("action", {}, status="complete")

    def _vm(self, uuid: str) -> ET.Element:
        vm = self.vms.get(uuid)
        if vm is None:
            raise Refusal(404, "Operation Failed", f"Entity not found: {uuid}")
        made = element(
            "vm", {"id": uuid}, name=vm.name, status=vm.status.look(),
            delete_protected=vm.protected,
        )  # fmt: skip
        ET.SubElement(made, "cluster", {"id": vm.cluster})
        return made

    def _attachments(self, uuid: str) -> Answer:
        self._vm(uuid)
        made = []
        for disk in self.vms[uuid].disks:
            made.append(element("disk_attachment", {"id": disk}, bootable=True))
            ET.SubElement(made[-1], "disk", {"id": disk})
        return _many("disk_attachments", made)

    def _vms(self, query: dict[str, str]) -> Answer:
        match = re.fullmatch(r'name="(.*)"', query.get("search", ""))
        found = [uuid for uuid, vm in self.vms.items() if match is None or vm.name == match[1]]
        return _many("vms", [self._vm(uuid) for uuid in found])

    def _change_vm(self, uuid: str, sent: ET.Element) -> Answer:
        if uuid in self.vms and self.vms[uuid].status.now == "image_locked":
            raise Refusal(409, "Operation Failed", "[Cannot edit VM. VM's Image is locked.]")
        if uuid in self.vms and sent.findtext("delete_protected") == "true":
            self.vms[uuid].protected = True
            self.done.append("protect")
        return 200, self._vm(uuid)

    # The OVF_STORE ---------------------------------------------------------------------------

    def _disks(self, key: str) -> Answer:
        if key not in self.domains:
            raise Refusal(404, "Operation Failed", "Entity not found")
        members = [
            element("disk", {"id": uuid}, status=copy.status.look(), content_type="ovf_store")
            for uuid, copy in self.copies.items()
        ]
        members.append(element("disk", {"id": DISK}, status="ok", content_type="data"))
        return _many("disks", members)

    def _update_store(self, key: str) -> Answer:
        self._active(key)
        self.done.append("update")
        if "update" not in self.idle:
            for copy in self.copies.values():
                copy.status.go("locked", self.polls, "ok")
                copy.date += 1
        return 200, element("action", {}, status="complete")


def _root() -> ET.Element:
    made = ET.Element("api")
    info = element("product_info", {}, name="oVirt Engine", vendor="ovirt.org")
    info.append(element("version", {}, full_version="4.5.6-1.el9", major=4, minor=5))
    made.append(info)
    return made
