# SPDX-License-Identifier: Apache-2.0
"""Section [libvirt] of ha-agent.conf, and its rules: the engine VM without VDSM.

Apart from config/schema.py for its length only. Values, no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ha_agent.config.kinds import DEADLINE, INTERVAL, NETWORKS, Kind, choice, whole


def _parse_networks(text: str) -> Mapping[str, str]:
    networks: Mapping[str, str] = NETWORKS.parse(text)
    for back_end in networks.values():
        if not re.fullmatch(r"user|(bridge|network)=[A-Za-z0-9._-]{1,64}", back_end):
            raise ValueError(text)
    return networks


def _parse_uri(text: str) -> str:
    # The host's own libvirt and no other: files, locks and /proc are looked at beside it.
    if not re.fullmatch(r"(qemu(\+unix)?|test):///[^\s#]{1,400}", text):
        raise ValueError(text)
    return text


VIRT_NETWORKS = Kind(
    "'name: back end' pairs separated by ';', the back end bridge=NAME, network=NAME or user",
    _parse_networks,
    NETWORKS.form,
)
VIRT_URI = Kind("a URI of this host's libvirt, such as qemu:///system", _parse_uri)


def _of(kind: Kind) -> Mapping[str, Any]:
    return {"kind": kind, "derived": ""}


@dataclass(frozen=True)
class LibvirtConfig:
    """[libvirt]: the libvirt that runs the engine VM where [host] hypervisor is libvirt."""

    uri: str = field(default="qemu:///system", metadata=_of(VIRT_URI))
    vm_lease: str = field(default="image", metadata=_of(choice("image", "lockd", "sanlock")))
    accelerator: str = field(default="auto", metadata=_of(choice("auto", "kvm", "tcg")))
    networks: Mapping[str, str] = field(
        default_factory=lambda: {"ovirtmgmt": "bridge=ovirtmgmt"}, metadata=_of(VIRT_NETWORKS)
    )
    call_deadline_seconds: float = field(default=10.0, metadata=_of(DEADLINE))
    keepalive_interval_seconds: int = field(default=5, metadata=_of(whole(1, 60)))
    poll_interval_seconds: float = field(default=10.0, metadata=_of(INTERVAL))


def file_lock_has_files(hypervisor: str, vm_lease: str, domain_type: str) -> bool:
    """Whether locks on the disk's file are seen by all hosts, where they are the VM lease."""
    if hypervisor != "libvirt" or vm_lease == "sanlock":
        return True
    return domain_type not in ("iscsi", "fc", "nfs3")
