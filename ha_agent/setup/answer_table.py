# SPDX-License-Identifier: Apache-2.0
"""Every answer of `ha-agent deploy`: the question, the kind of value, the default, when asked.

The order is the order of the questions; `when` looks at the answers before it only.
conf/answers-example.conf shows each of them, and a test holds it to this table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

from ha_agent.config.kinds import (
    ADDRESS,
    BOOL,
    NAME,
    OPTIONAL_ADDRESS,
    OPTIONAL_NAME,
    OPTIONAL_PATH,
    OPTIONAL_TEXT,
    OPTIONAL_URL,
    PATH,
    PORT,
    UUID,
    Kind,
    choice,
    list_of,
    optional_list_of,
    whole,
)

Values = Mapping[str, Any]
When = Callable[[Values], bool]


def _always(_values: Values) -> bool:
    return True


@dataclass(frozen=True)
class Key:
    """One answer. `default` None: there is none, it must be given. `asked` False: a person is not
    asked, since the default is right nearly always. `only` says when it has a place."""

    section: str
    name: str
    question: str
    kind: Kind
    help: str
    default: Optional[str] = ""
    when: When = _always
    only: str = ""
    asked: bool = True
    secret: bool = False


def _is(name: str, *wanted: str) -> When:
    return lambda values: values.get(name) in wanted


def _parse_mac(text: str) -> str:
    # Bit 0 of the first byte is set for groups only, and libvirt refuses such a card.
    if text and not re.fullmatch(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}", text.lower()):
        raise ValueError(text)
    return text.lower()


def _parse_optional_uuid(text: str) -> str:
    return str(UUID.parse(text)) if text else ""


def _parse_text(text: str) -> str:
    if not 0 < len(text) <= 255:
        raise ValueError(text)
    return text


_TEXT = Kind("a text of at most 255 characters", _parse_text)
_MAC = Kind("a MAC address, such as 00:16:3e:35:83:68, or nothing", _parse_mac)
_OPTIONAL_UUID = Kind(f"{UUID.expected}, or nothing", _parse_optional_uuid)
_OPTIONAL_WHOLE = Kind(
    "a whole number, 1 to 65536, or nothing",
    lambda text: whole(1, 65536).parse(text) if text else None,
    lambda value: "" if value is None else str(value),
)
_MOUNTED = _is("storage_type", "nfs", "nfs3", "glusterfs", "cephfs", "posixfs")
_BLOCK = _is("storage_type", "iscsi", "fc")
_ISCSI = _is("storage_type", "iscsi")
_ANSWERS = _is("definition", "answers")

KEYS: tuple[Key, ...] = (
    Key(
        "storage", "storage_type",
        "What kind of storage is shared by the hosts?",
        choice("nfs", "nfs3", "glusterfs", "cephfs", "posixfs", "localfs", "iscsi", "fc"),
        "nfs is version 4; localfs is a directory of this host, for one host only",
        "nfs",
    ),
    Key(
        "storage", "storage_connection",
        "Where is it?",
        _TEXT,
        "server:/export for nfs, server:/volume for glusterfs, what mount(8) takes for posixfs and"
        " cephfs, a directory for localfs, portals ADDRESS[:PORT] with commas for iscsi",
        None,
        lambda values: values.get("storage_type") != "fc",
        "Fibre Channel has no address",
    ),
    Key(
        "storage", "nfs_version",
        "Which version of NFS?",
        choice("4", "4.0", "4.1", "4.2"),
        "one that the server has",
        "4",
        _is("storage_type", "nfs"),
        "only nfs has a version",
        asked=False,
    ),
    Key(
        "storage", "vfs_type",
        "Which type of file system, as mount(8) calls it?",
        NAME,
        "such as ceph or ocfs2",
        None,
        _is("storage_type", "posixfs"),
        "only posixfs has one",
    ),
    Key(
        "storage", "mount_options",
        "Further mount options, if any?",
        OPTIONAL_TEXT,
        "with commas; none that makes locks local",
        "",
        _MOUNTED,
        "nothing is mounted",
    ),
    Key(
        "storage", "iscsi_target",
        "What is the name (IQN) of the iSCSI target?",
        _TEXT,
        "such as iqn.2026-11.org.example:he",
        None,
        _ISCSI,
        "only iscsi has a target",
    ),
    Key(
        "storage", "iscsi_tpgt",
        "Which target portal group?",
        _OPTIONAL_WHOLE,
        "nothing: VDSM's default, 1",
        "",
        _ISCSI,
        "only iscsi has one",
        asked=False,
    ),
    Key(
        "storage", "iscsi_user",
        "CHAP user, if the target wants one?",
        OPTIONAL_TEXT,
        "nothing: no CHAP",
        "",
        _ISCSI,
        "only iscsi has CHAP",
    ),
    Key(
        "storage", "iscsi_password",
        "CHAP password?",
        OPTIONAL_TEXT,
        "it is written into hosted-engine.conf, which only root and vdsm can read",
        "",
        lambda values: bool(values.get("iscsi_user")),
        "without iscsi_user there is no password",
        secret=True,
    ),
    Key(
        "storage", "domain_uuid",
        "UUID of a storage domain that is there already, or nothing to make one?",
        _OPTIONAL_UUID,
        "a domain that an engine manages can't be used for this",
        "",
    ),
    Key(
        "storage", "domain_name",
        "What is the new storage domain called?",
        NAME,
        "the engine shows this name",
        "hosted_storage",
        lambda values: not values.get("domain_uuid"),
        "a domain that is there has its name",
        asked=False,
    ),
    Key(
        "storage", "luns",
        "GUIDs of the LUNs for the new storage domain, with commas?",
        list_of(NAME),
        "all that is on them is lost; `multipath -ll` shows them",
        None,
        lambda values: _BLOCK(values) and not values.get("domain_uuid"),
        "only a new domain on iscsi or fc is made of LUNs",
    ),
    Key(
        "lease", "lease_backend",
        "How do the hosts agree which of them has the engine VM?",
        choice("lockfile", "sanlock"),
        "lockfile is quicker and needs a file system whose locks all hosts see; sanlock works on"
        " all storage, and is the only one for iscsi, fc and nfs3",
        "lockfile",
    ),
    Key(
        "lease", "sanlock_path",
        "Block device for sanlock's lease, of 2 MiB at least, that all hosts see?",
        PATH,
        "such as an LV of its own; all zeros",
        None,
        lambda values: _BLOCK(values) and values.get("lease_backend") == "sanlock",
        "a file domain has a file for it",
    ),
    Key(
        "host", "host_id",
        "This host's id?",
        whole(1, 2000),
        "the engine calls it vds_spm_id; the first host has 1",
        "1",
        asked=False,
    ),
    Key(
        "host", "bridge",
        "The network that the hosts and the engine are managed by?",
        OPTIONAL_NAME,
        "its bridge must be up for this host to be a good place; nothing: don't look",
        "ovirtmgmt",
    ),
    Key(
        "host", "gateway",
        "Address of its gateway?",
        OPTIONAL_ADDRESS,
        "it is pinged to know whether this host's network works; nothing: don't",
        "",
    ),
    Key(
        "engine", "engine_fqdn",
        "The engine's host name?",
        ADDRESS,
        "its full name, which resolves to the engine VM",
        None,
    ),
    Key(
        "engine", "health_url",
        "The engine's health page?",
        OPTIONAL_URL,
        "nothing: http://<engine_fqdn>/ovirt-engine/services/health",
        "",
        asked=False,
    ),
    Key(
        "engine", "definition",
        "What defines the engine VM?",
        choice("answers", "ovf", "vm_conf"),
        "answers: the questions that follow; ovf: an OVF of the engine's; vm_conf: a vm.conf of"
        " the predecessor's",
        "answers",
    ),
    Key(
        "engine", "definition_file",
        "In which file is it?",
        PATH,
        "its disk, unless it is on the domain already, is replaced by the one that is made here",
        None,
        _is("definition", "ovf", "vm_conf"),
        "the definition is made from answers",
    ),
    Key(
        "engine", "vm_uuid",
        "UUID of the engine VM, or nothing for a new one?",
        _OPTIONAL_UUID,
        "",
        "",
        _ANSWERS,
        "the definition has it",
        asked=False,
    ),
    Key(
        "engine", "vm_name", "Name of the engine VM?", NAME, "", "HostedEngine",
        _ANSWERS, "the definition has it", asked=False,
    ),
    Key(
        "engine", "memory_mib", "MiB of memory for the engine VM?", whole(64, 4194304),
        "oVirt wants 16384 for a small installation, 4096 at least", "16384",
        _ANSWERS, "the definition has it",
    ),
    Key(
        "engine", "cpus", "Virtual processors for the engine VM?", whole(1, 512),
        "oVirt wants 4", "4", _ANSWERS, "the definition has it",
    ),
    Key(
        "engine", "network", "The network of the engine VM?", NAME,
        "as VDSM calls it", "ovirtmgmt", _ANSWERS, "the definition has it",
    ),
    Key(
        "engine", "mac", "MAC address of its network card, or nothing for a random one?", _MAC,
        "one that the DHCP server knows", "", _ANSWERS, "the definition has it",
    ),
    Key(
        "engine", "machine", "QEMU's machine type?", NAME,
        "`ha-agent deploy` looks whether this host has it", "q35",
        _ANSWERS, "the definition has it", asked=False,
    ),
    Key(
        "engine", "console", "Graphical console?", choice("vnc", "none"), "", "vnc",
        _ANSWERS, "the definition has it", asked=False,
    ),
    Key(
        "disk", "disk_image_file",
        "Image file to make the engine VM's disk from, or nothing if the disk is there already?",
        OPTIONAL_PATH,
        "raw or qcow2, such as the engine appliance's; it is copied, not changed",
        "",
    ),
    Key(
        "disk", "disk_size_gib",
        "Size of the new disk in GiB, or nothing for the image's own?",
        _OPTIONAL_WHOLE,
        "the engine wants 50",
        "",
        lambda values: bool(values.get("disk_image_file")),
        "only a new disk has a size",
    ),
    Key(
        "disk", "disk_image",
        "UUID of the image that is on the domain?",
        _OPTIONAL_UUID,
        "",
        "",
        lambda values: not values.get("disk_image_file"),
        "the disk is made from disk_image_file",
    ),
    Key(
        "disk", "disk_volume",
        "UUID of its volume?",
        _OPTIONAL_UUID,
        "",
        "",
        lambda values: not values.get("disk_image_file"),
        "the disk is made from disk_image_file",
    ),
    Key(
        "notify", "smtp_server",
        "Mail server for messages of this cluster, if any?",
        OPTIONAL_ADDRESS,
        "nothing: no mail",
        "",
    ),
    Key(
        "notify", "source_email", "Sender of the messages?", _TEXT, "", "root@localhost",
        lambda values: bool(values.get("smtp_server")), "there is no smtp_server",
    ),
    Key(
        "notify", "destination_emails", "Who gets them, with commas?",
        optional_list_of(_TEXT), "", "root@localhost",
        lambda values: bool(values.get("smtp_server")), "there is no smtp_server",
    ),
    Key(
        "vdsm", "vdsm_host", "Where is this host's VDSM?", ADDRESS, "", "localhost", asked=False
    ),
    Key("vdsm", "vdsm_port", "Its port?", PORT, "", "54321", asked=False),
    Key(
        "vdsm", "vdsm_ssl",
        "Does it want TLS?",
        BOOL,
        "with the certificates of /etc/pki/vdsm; false for the embedded VDSM",
        "true",
        asked=False,
    ),
)  # fmt: skip
