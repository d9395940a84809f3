# SPDX-License-Identifier: Apache-2.0
"""What values of the predecessor's files are in our words. Pure: pairs in, text out.

Each function takes a file's pairs and returns the text that one key of ours would have in
ha-agent.conf, or None where the file does not say it. The caller asks only where the key that
the function belongs to (legacy_keys.py) has a value. A value that can't be understood raises
BadInput with file and line; whether a text that is understood is a sound value is for
our own key to say.
"""

from __future__ import annotations

import re
from posixpath import normpath
from typing import Callable, Optional

from ha_agent.compat import hosted_engine_conf
from ha_agent.compat.hosted_engine_conf import HostedEngineConf
from ha_agent.vdsm.client.storage_server import NFS_VERSIONS

# Any of the files: of broker.conf and agent.conf the keys are "section.key".
Pairs = HostedEngineConf
Make = Callable[[Pairs], Optional[str]]

# Below this VDSM mounts: storageServer.py, MountConnection; prepared volumes of block domains:
# facts/vdsm.md, Image.prepare.
_MOUNTS, _GLUSTER_MOUNTS = "/rhev/data-center/mnt", "/rhev/data-center/mnt/glusterSD"
_BLOCK_DOMAINS = "/run/vdsm/storage"
_HEALTH_PATH = "/ovirt-engine/services/health"
# Our own default of the score's cpu_load_leave, which may not be above cpu_load_low.
_CPU_LOAD_LEAVE = 0.35


def same(key: str) -> Make:
    """Return the function for a value that is the same in our words."""
    return lambda pairs: pairs.text(key)


def lower_case(key: str) -> Make:
    """Return the function for True and False, which we write small."""
    return lambda pairs: pairs.text(key).lower()


def health_url(pairs: Pairs) -> Optional[str]:
    """The page that the predecessor asked, too. It did so without TLS, by the engine's name."""
    name = pairs.text("fqdn")
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", name):
        raise pairs.fault("fqdn", f"{name[:80]!r} is no host name")
    return f"http://{name}{_HEALTH_PATH}"


def domain_type(pairs: Pairs) -> Optional[str]:
    """Of NFS the version decides whether lock files are safe, so it is part of our word."""
    kind = pairs.domain_type
    if kind in ("nfs", "nfs3", "nfs4"):
        version = hosted_engine_conf.nfs_version_of(pairs)
        return "nfs3" if version == NFS_VERSIONS[0] else "nfs"
    return kind


def domain_path(pairs: Pairs) -> Optional[str]:
    """Where VDSM has the domain: its mount's folder, or that of a block domain's volumes.

    VDSM normalises the mount's source, then writes "_" as "__" and "/" as "_"
    (storageServer.py, MountConnection; fileUtils.py, transformPath).
    """
    if "domainType" not in pairs.values:
        return None
    uuid, kind = pairs.uuid("sdUUID"), pairs.domain_type
    if kind in ("iscsi", "fc"):
        return f"{_BLOCK_DOMAINS}/{uuid}"
    # The version has no part in the path.
    [connection] = hosted_engine_conf.server_of(pairs, NFS_VERSIONS[-1]).connections
    source = normpath(str(connection.fields["connection"]))
    folder = source.replace("_", "__").replace("/", "_")
    return f"{_GLUSTER_MOUNTS if kind == 'glusterfs' else _MOUNTS}/{folder}/{uuid}"


def vm_conf_path(pairs: Pairs) -> Optional[str]:
    """Only a path that a boot clears: of a host of version 3.5 it names the VM's one vm.conf,
    which we would replace by what the OVF says."""
    path = pairs.text("conf")
    return path if path.startswith(("/run/", "/var/run/")) else None


def network_test_of_gateway(pairs: Pairs) -> Optional[str]:
    """Without network_test the predecessor pinged the gateway (broker/submonitors/network.py)."""
    return None if "network_test" in pairs.values else "ping"


def ping_address(pairs: Pairs) -> Optional[str]:
    """The gateway is what a ping is sent to, and nothing else is."""
    return pairs.text("gateway") if pairs.values.get("network_test", "ping") == "ping" else None


def of_tcp(key: str) -> Make:
    """Return the function for a value that counts with network_test=tcp only."""
    return lambda p: p.text(key) if p.values.get("network_test") == "tcp" else None


def cpu_load_leave(pairs: Pairs) -> Optional[str]:
    """The predecessor had no such threshold: ours must not be above the one it has."""
    text = pairs.text("score.cpu-load-penalty-min")
    return text if re.fullmatch(r"0?\.[0-9]+|0", text) and float(text) < _CPU_LOAD_LEAVE else None


def mail_to(pairs: Pairs) -> Optional[str]:
    """Without a rule in [notify] the predecessor sent no mail (broker/notifications.py)."""
    return pairs.text("email.destination-emails") if _NOTIFY in pairs.lines else None


_NOTIFY = "notify.state_transition"
