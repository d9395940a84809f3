# SPDX-License-Identifier: Apache-2.0
"""Rules that hold between keys of ha-agent.conf, as a table of rows.

Each row names the keys, says when it holds and what it would cost if it did not. Most guard
the lease's timeline (DESIGN.md, section 2), where a wrong pair of values means an engine VM
that is ended for nothing, or one that is started twice. Values in, truth out: config.py
applies the rows and knows the files and lines.
"""

from __future__ import annotations

from pathlib import Path
from typing import Callable, NamedTuple

from ha_agent.broker.sanlock.times import IO_TIMEOUT_SECONDS, SanlockTimes
from ha_agent.config.libvirt import file_lock_has_files
from ha_agent.config.storage import (
    BLOCK_DOMAIN_TYPES,
    block_volume_at,
    connection_fits,
    locks_are_shared,
)


class Relation(NamedTuple):
    """A rule between keys: `holds` takes their values in order, `what` says why it must."""

    keys: tuple[str, ...]
    holds: Callable[..., bool]
    what: str


def _file_domain_lock(backend: str, domain_type: str) -> bool:
    return backend != "lockfile" or domain_type not in BLOCK_DOMAIN_TYPES


def _block_domain_path(backend: str, domain_type: str, path: Path, domain_path: Path) -> bool:
    if backend != "sanlock" or domain_type not in BLOCK_DOMAIN_TYPES:
        return True
    return domain_path not in path.parents or block_volume_at(domain_path, path) is not None


def _sanlock_times(backend: str, profile: str, watchdog_fire_seconds: int) -> bool:
    times = SanlockTimes(IO_TIMEOUT_SECONDS[profile], watchdog_fire_seconds)
    return backend != "sanlock" or not times.faults()


RELATIONS = (
    Relation(
        ("host.hypervisor", "libvirt.vm_lease", "storage.domain_type"),
        file_lock_has_files,
        "image and lockd lock the disk's file, which must be on a file system whose locks all"
        " hosts see and a dead host loses: not a block domain, not NFSv3; use sanlock",
    ),
    Relation(
        ("host.hypervisor", "libvirt.vm_lease", "vdsm-server.vm_lease"),
        lambda hypervisor, vm_lease, served: (
            hypervisor != "libvirt" or vm_lease != "sanlock" or served == "sanlock"
        ),
        "libvirt's sanlock leases need the storage domain's lockspace joined, which ha-vdsm does"
        " with [vdsm-server] vm_lease = sanlock only",
    ),
    Relation(
        ("notify.smtp_user", "notify.smtp_security", "notify.smtp_host"),
        lambda user, security, host: (
            not user or security != "none" or host in ("localhost", "127.0.0.1", "::1")
        ),
        "a password would go over the network in clear; set smtp_security to starttls or tls",
    ),
    Relation(
        ("notify.webhook_url", "notify.webhook_secret_file"),
        lambda url, secret_file: not secret_file or not url.startswith("http:"),
        "what is signed with a secret should not go over the network in clear; use https",
    ),
    Relation(
        ("storage.max_hosts", "host.id"),
        lambda max_hosts, host_id: host_id <= max_hosts,
        "the host's id must not be above max_hosts, or nobody reads this host's status block",
    ),
    Relation(
        (
            "storage.domain_type",
            "storage.connection",
            "storage.iscsi_target",
            "storage.vfs_type",
        ),
        connection_fits,
        "connection must be server:/export for nfs, server:/volume for glusterfs, what mount(8)"
        " takes for posixfs and cephfs (and vfs_type its type), a directory for localfs, portals"
        " ADDRESS[:PORT] for iscsi (and iscsi_target the target's name)",
    ),
    Relation(
        ("lease.backend", "storage.mount_options"),
        locks_are_shared,
        "with these mount options locks are seen on this host only, and two hosts could own the"
        " engine VM at once; leave them out, or use the back end sanlock",
    ),
    Relation(
        ("storage.iscsi_user", "storage.iscsi_password_file"),
        lambda user, file: bool(user) == bool(file),
        "CHAP needs both a user and a file with the password",
    ),
    Relation(
        ("storage.domain_uuid", "storage.domain_path"),
        lambda uuid, path: path.name == uuid,
        "domain_path must end in the domain's UUID, or a lock file elsewhere is taken for it",
    ),
    Relation(
        ("lease.backend", "storage.domain_type", "sanlock.path", "storage.domain_path"),
        _block_domain_path,
        "a block domain has no room for a file: path must name a block device of its own, such as"
        " an LV of 2 MiB, that all hosts see, or a volume of the domain",
    ),
    Relation(
        ("lease.backend", "sanlock.profile", "sanlock.watchdog_fire_seconds"),
        _sanlock_times,
        "the watchdog must leave the owner time to end its VM before others start it: at least"
        " 2 * the profile's I/O timeout + 3 s",
    ),
    Relation(
        ("lease.backend", "sanlock.lockspace"),
        lambda backend, name: backend != "sanlock" or len(name) <= 48,
        "sanlock's names have at most 48 characters",
    ),
    Relation(
        ("lease.backend", "storage.domain_type"),
        _file_domain_lock,
        "a lock file needs a file system that all hosts share; a block domain has none, and "
        "locks on a block device are seen by one host only",
    ),
    Relation(
        ("lease.backend", "storage.domain_type"),
        lambda backend, domain_type: backend != "lockfile" or domain_type != "nfs3",
        "an NFSv3 server never frees the locks of a host that died, so the engine VM could not "
        "be started anywhere else; mount the domain with NFS 4",
    ),
    Relation(
        (
            "lease.renew_interval_seconds",
            "lease.lease_expiry_seconds",
            "lease.fence_margin_seconds",
        ),
        lambda renew, expiry, margin: 3 * renew < expiry - margin,
        "3 * renew_interval must be less than lease_expiry - fence_margin, which is when the "
        "owner ends its VM, or a single slow renewal does that",
    ),
    Relation(
        (
            "lease.renew_interval_seconds",
            "lease.renew_deadline_seconds",
            "lease.lease_expiry_seconds",
            "lease.fence_margin_seconds",
        ),
        lambda renew, deadline, expiry, margin: renew + deadline < expiry - margin,
        "renew_interval + renew_deadline must be less than lease_expiry - fence_margin, or the "
        "owner ends its VM before it can know that a renewal failed",
    ),
    Relation(
        ("status.publish_interval_seconds", "status.host_alive_seconds"),
        lambda publish, alive: 3 * publish < alive,
        "host_alive must be more than 3 * publish_interval, or one late block makes a host dead",
    ),
    Relation(
        (
            "engine.health_interval_seconds",
            "engine.health_deadline_seconds",
            "engine.bad_health_grace_seconds",
        ),
        lambda interval, deadline, grace: interval + deadline < grace,
        "bad_health_grace must be more than health_interval + health_deadline, or one lost "
        "answer stops a healthy engine",
    ),
    Relation(
        ("score.cpu_load_low", "score.cpu_load_high"),
        lambda low, high: low < high,
        "cpu_load_low must be below cpu_load_high",
    ),
    Relation(
        ("score.cpu_load_leave", "score.cpu_load_low"),
        lambda leave, low: leave <= low,
        "cpu_load_leave must not be above cpu_load_low, or the penalty comes and goes at once",
    ),
    Relation(
        ("score.network_leave", "score.network_enter"),
        lambda leave, enter: leave <= enter,
        "network_leave must not be above network_enter, or the penalty comes and goes at once",
    ),
    Relation(
        ("score.samples_needed", "score.samples_kept"),
        lambda needed, kept: needed <= kept < 2 * needed,
        "samples_needed must be more than half of samples_kept, and no more than that: with less, "
        "a penalty could be entered and left by the same samples",
    ),
    Relation(
        ("push.listen_address", "push.allowed_subjects"),
        lambda address, subjects: not address or bool(subjects),
        "name who may push: with the list empty every host whose certificate the engine's CA has "
        "signed could change the engine VM",
    ),
    Relation(
        ("network.test", "network.address"),
        lambda test, address: test not in ("ping", "tcp") or bool(address),
        "this test needs an address",
    ),
    Relation(
        ("network.test", "network.port"),
        lambda test, port: test != "tcp" or port is not None,
        "this test needs a port",
    ),
)
