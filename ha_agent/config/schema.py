# SPDX-License-Identifier: Apache-2.0
"""Every section and key of ha-agent.conf: its type, its bounds and its default.

One frozen dataclass is one section; a key is a field; `of(KIND)` says how its text is read,
checked and printed. What a key means, and why its default is what it is, stands in
conf/ha-agent.conf, and tests/test_config.py holds that file against this module. A field
without a default is required in the file, unless `derived` says what it is made from
(config.py does that, after the files are read).

Nothing here reads files: config.py does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from ha_agent.broker.incidents.incident import KINDS as INCIDENT_KINDS
from ha_agent.broker.incidents.incident import SEVERITIES
from ha_agent.broker.sanlock.times import IO_TIMEOUT_SECONDS
from ha_agent.compat.legacy_keys import Use
from ha_agent.config.kinds import (
    ADDRESS,
    BOOL,
    DEADLINE,
    INTERVAL,
    MAIL_ADDRESS,
    MODE,
    NAME,
    NETWORKS,
    OPTIONAL_ADDRESS,
    OPTIONAL_MAIL_ADDRESS,
    OPTIONAL_NAME,
    OPTIONAL_PATH,
    OPTIONAL_PORT,
    OPTIONAL_TEXT,
    OPTIONAL_URL,
    PATH,
    POINTS,
    PORT,
    PROGRAM,
    URL,
    UUID,
    Kind,
    choice,
    list_of,
    number,
    optional_list_of,
    seconds,
    whole,
)
from ha_agent.config.libvirt import LibvirtConfig
from ha_agent.config.storage import StorageConfig


def of(kind: Kind, derived: str = "") -> Mapping[str, Any]:
    """Return the dataclass field metadata of a key; `derived` says what an empty one becomes."""
    return {"kind": kind, "derived": derived}


@dataclass(frozen=True)
class HostConfig:
    """[host]: who this host is, and where it keeps its own files."""

    id: int = field(metadata=of(whole(1, 2000)))
    name: str = field(metadata=of(ADDRESS, derived="the system's host name"))
    hypervisor: str = field(default="vdsm", metadata=of(choice("vdsm", "libvirt")))
    run_dir: Path = field(default=Path("/run/ha-agent"), metadata=of(PATH))
    state_dir: Path = field(default=Path("/var/lib/ha-agent"), metadata=of(PATH))


@dataclass(frozen=True)
class EngineConfig:
    """[engine]: the engine VM, and how the engine in it is asked for its health."""

    vm_uuid: str = field(metadata=of(UUID))
    health_url: str = field(metadata=of(URL))
    health_ca_file: Optional[Path] = field(default=None, metadata=of(OPTIONAL_PATH))
    health_interval_seconds: float = field(default=2.0, metadata=of(INTERVAL))
    health_deadline_seconds: float = field(default=5.0, metadata=of(DEADLINE))
    bad_health_grace_seconds: float = field(default=120.0, metadata=of(seconds(1, 86400)))
    start_timeout_seconds: float = field(default=600.0, metadata=of(seconds(1, 86400)))
    stop_timeout_seconds: float = field(default=120.0, metadata=of(seconds(1, 86400)))


@dataclass(frozen=True)
class LeaseConfig:
    """[lease]: which host owns the engine VM, and until when."""

    # The timeline is in broker/lease/rules.py.

    path: Path = field(
        metadata=of(PATH, derived="<storage.domain_path>/ha_agent/<engine.vm_uuid>.lease")
    )
    backend: str = field(default="lockfile", metadata=of(choice("lockfile", "sanlock")))
    renew_interval_seconds: float = field(default=3.0, metadata=of(seconds(0.05, 60)))
    renew_deadline_seconds: float = field(default=4.0, metadata=of(seconds(0.05, 60)))
    lease_expiry_seconds: float = field(default=15.0, metadata=of(seconds(0.5, 600)))
    fence_margin_seconds: float = field(default=4.0, metadata=of(seconds(0.5, 300)))
    takeover_step_seconds: float = field(default=1.0, metadata=of(seconds(0.05, 60)))
    qemu_marker: Optional[Path] = field(default=None, metadata=of(OPTIONAL_PATH))

    @property
    def fence_after_seconds(self) -> float:
        """How long after the start of the last good renewal the owner ends its VM."""
        return self.lease_expiry_seconds - self.fence_margin_seconds


@dataclass(frozen=True)
class SanlockConfig:
    """[sanlock]: the lease where [lease] backend is sanlock. Times: broker/sanlock/times.py."""

    path: Path = field(
        metadata=of(PATH, derived="<storage.domain_path>/ha_agent/<engine.vm_uuid>.sanlock")
    )
    lockspace: str = field(default="ha-agent", metadata=of(NAME))
    profile: str = field(default="safe", metadata=of(choice("safe", "quick", "fast")))
    watchdog_fire_seconds: int = field(default=60, metadata=of(whole(5, 60)))

    @property
    def io_timeout_seconds(self) -> int:
        """What the profile is in sanlock's own terms."""
        return IO_TIMEOUT_SECONDS[self.profile]


@dataclass(frozen=True)
class StatusConfig:
    """[status]: the blocks in which hosts tell each other how they are."""

    publish_interval_seconds: float = field(default=5.0, metadata=of(INTERVAL))
    read_interval_seconds: float = field(default=2.0, metadata=of(INTERVAL))
    host_alive_seconds: float = field(default=30.0, metadata=of(seconds(0.5, 3600)))


@dataclass(frozen=True)
class DefinitionConfig:
    """[definition]: the engine VM's OVF in the OVF_STORE."""

    refresh_interval_seconds: float = field(default=60.0, metadata=of(INTERVAL))
    history_versions: int = field(default=20, metadata=of(whole(1, 1000)))
    vm_conf_path: Path = field(
        default=Path("/run/ovirt-hosted-engine-ha/vm.conf"), metadata=of(PATH)
    )


@dataclass(frozen=True)
class VdsmConfig:
    """[vdsm]: the VDSM, real or embedded, that runs the engine VM on this host."""

    host: str = field(default="localhost", metadata=of(ADDRESS))
    port: int = field(default=54321, metadata=of(PORT))
    ssl: bool = field(default=True, metadata=of(BOOL))
    key_file: Path = field(default=Path("/etc/pki/vdsm/keys/vdsmkey.pem"), metadata=of(PATH))
    cert_file: Path = field(default=Path("/etc/pki/vdsm/certs/vdsmcert.pem"), metadata=of(PATH))
    ca_file: Path = field(default=Path("/etc/pki/vdsm/certs/cacert.pem"), metadata=of(PATH))
    connect_deadline_seconds: float = field(default=5.0, metadata=of(DEADLINE))
    call_deadline_seconds: float = field(default=10.0, metadata=of(DEADLINE))
    heart_beat_interval_seconds: float = field(default=5.0, metadata=of(INTERVAL))
    poll_interval_seconds: float = field(default=10.0, metadata=of(INTERVAL))


@dataclass(frozen=True)
class VdsmServerConfig:
    """[vdsm-server]: the embedded VDSM, on hosts that have no other."""

    domain_paths: tuple[Path, ...] = field(
        metadata=of(list_of(PATH), derived="<storage.domain_path>")
    )
    listen_host: str = field(default="127.0.0.1", metadata=of(ADDRESS))
    listen_port: int = field(default=54321, metadata=of(PORT))
    qemu_binary: str = field(default="qemu-system-x86_64", metadata=of(PROGRAM))
    accelerator: str = field(default="auto", metadata=of(choice("auto", "kvm", "tcg")))
    networks: Mapping[str, str] = field(
        default_factory=lambda: {"ovirtmgmt": "bridge,br=ovirtmgmt"}, metadata=of(NETWORKS)
    )
    vm_lease: str = field(default="lockfile", metadata=of(choice("lockfile", "sanlock")))
    ssl: bool = field(default=False, metadata=of(BOOL))
    key_file: Path = field(default=Path("/etc/pki/vdsm/keys/vdsmkey.pem"), metadata=of(PATH))
    cert_file: Path = field(default=Path("/etc/pki/vdsm/certs/vdsmcert.pem"), metadata=of(PATH))
    ca_file: Path = field(default=Path("/etc/pki/vdsm/certs/cacert.pem"), metadata=of(PATH))


@dataclass(frozen=True)
class BrokerConfig:
    """[broker]: the local socket that operators and the agent talk to."""

    socket: Path = field(metadata=of(PATH, derived="<host.run_dir>/broker.socket"))
    socket_user: str = field(default="vdsm", metadata=of(OPTIONAL_NAME))
    socket_group: str = field(default="", metadata=of(OPTIONAL_NAME))
    socket_mode: int = field(default=0o666, metadata=of(MODE))
    call_deadline_seconds: float = field(default=10.0, metadata=of(DEADLINE))


@dataclass(frozen=True)
class PushConfig:
    """[push]: the TLS listener that the engine sends its VM's definition to."""

    listen_address: str = field(default="", metadata=of(OPTIONAL_ADDRESS))
    listen_port: int = field(default=54324, metadata=of(PORT))
    allowed_subjects: tuple[str, ...] = field(default=(), metadata=of(optional_list_of(ADDRESS)))
    key_file: Path = field(default=Path("/etc/pki/vdsm/keys/vdsmkey.pem"), metadata=of(PATH))
    cert_file: Path = field(default=Path("/etc/pki/vdsm/certs/vdsmcert.pem"), metadata=of(PATH))
    ca_file: Path = field(default=Path("/etc/pki/vdsm/certs/cacert.pem"), metadata=of(PATH))
    max_document_kib: int = field(default=8192, metadata=of(whole(64, 8192)))
    max_connections: int = field(default=16, metadata=of(whole(1, 1000)))
    max_connections_per_address: int = field(default=8, metadata=of(whole(1, 1000)))
    handshake_deadline_seconds: float = field(default=5.0, metadata=of(DEADLINE))
    call_deadline_seconds: float = field(default=10.0, metadata=of(DEADLINE))


@dataclass(frozen=True)
class NetworkConfig:
    """[network]: how this host finds out that its network works."""

    test: str = field(default="none", metadata=of(choice("none", "ping", "dns", "tcp")))
    address: str = field(default="", metadata=of(OPTIONAL_ADDRESS))
    port: Optional[int] = field(default=None, metadata=of(OPTIONAL_PORT))
    interval_seconds: float = field(default=10.0, metadata=of(INTERVAL))
    deadline_seconds: float = field(default=5.0, metadata=of(DEADLINE))
    samples: int = field(default=5, metadata=of(whole(1, 100)))
    bridge: str = field(default="ovirtmgmt", metadata=of(OPTIONAL_NAME))


@dataclass(frozen=True)
class ProbesConfig:
    """[probes]: how often the broker measures this host, and for how long at most."""

    bridge_interval_seconds: float = field(default=15.0, metadata=of(INTERVAL))
    bridge_deadline_seconds: float = field(default=5.0, metadata=of(DEADLINE))
    cpu_load_interval_seconds: float = field(default=15.0, metadata=of(INTERVAL))
    cpu_load_deadline_seconds: float = field(default=5.0, metadata=of(DEADLINE))
    cpu_load_samples: int = field(default=20, metadata=of(whole(1, 1000)))
    memory_interval_seconds: float = field(default=15.0, metadata=of(INTERVAL))
    memory_deadline_seconds: float = field(default=5.0, metadata=of(DEADLINE))
    domain_interval_seconds: float = field(default=10.0, metadata=of(INTERVAL))
    domain_deadline_seconds: float = field(default=5.0, metadata=of(DEADLINE))


@dataclass(frozen=True)
class MetricsConfig:
    """[metrics]: figures for Prometheus."""

    listen_address: str = field(default="", metadata=of(OPTIONAL_ADDRESS))
    listen_port: int = field(default=9877, metadata=of(PORT))
    textfile: Optional[Path] = field(default=None, metadata=of(OPTIONAL_PATH))
    interval_seconds: float = field(default=15.0, metadata=of(seconds(1, 3600)))


@dataclass(frozen=True)
class ScoreConfig:
    """[score]: the best score of a host, and what each trouble takes off it, in points."""

    base: int = field(default=3400, metadata=of(POINTS))
    network: int = field(default=1600, metadata=of(POINTS))
    cpu_load: int = field(default=1000, metadata=of(POINTS))
    bridge: int = field(default=600, metadata=of(POINTS))
    memory: int = field(default=400, metadata=of(POINTS))
    stale_definition: int = field(default=1000, metadata=of(POINTS))
    retry: int = field(default=50, metadata=of(POINTS))
    cpu_load_low: float = field(default=0.4, metadata=of(number(0, 1, "a share")))
    cpu_load_high: float = field(default=0.9, metadata=of(number(0, 1, "a share")))
    cpu_load_leave: float = field(default=0.35, metadata=of(number(0, 1, "a share")))
    network_enter: float = field(default=0.35, metadata=of(number(0, 1, "a share")))
    network_leave: float = field(default=0.2, metadata=of(number(0, 1, "a share")))
    samples_needed: int = field(default=3, metadata=of(whole(1, 100)))
    samples_kept: int = field(default=5, metadata=of(whole(1, 100)))
    residency_seconds: float = field(default=60.0, metadata=of(seconds(0, 86400)))


@dataclass(frozen=True)
class RestartConfig:
    """[restart]: what happens after the engine VM went down by itself."""

    backoff_seconds: tuple[float, ...] = field(
        default=(0.0, 1.0, 5.0, 15.0), metadata=of(list_of(seconds(0, 3600)))
    )
    window_seconds: float = field(default=600.0, metadata=of(seconds(1, 86400)))
    unexpected_down_seconds: float = field(default=120.0, metadata=of(seconds(0, 86400)))


@dataclass(frozen=True)
class AgentConfig:
    """[agent]: the loop that decides."""

    tick_interval_seconds: float = field(default=1.0, metadata=of(seconds(0.05, 10)))
    file_poll_interval_seconds: float = field(default=2.0, metadata=of(INTERVAL))


@dataclass(frozen=True)
class NotifyConfig:
    """[notify]: who is told of incidents, and how. Without mail_to, webhook and hook: nobody."""

    mail_to: tuple[str, ...] = field(default=(), metadata=of(optional_list_of(MAIL_ADDRESS)))
    mail_from: str = field(default="", metadata=of(OPTIONAL_MAIL_ADDRESS))
    smtp_host: str = field(default="localhost", metadata=of(ADDRESS))
    smtp_port: int = field(default=25, metadata=of(PORT))
    smtp_security: str = field(default="none", metadata=of(choice("none", "starttls", "tls")))
    smtp_ca_file: Optional[Path] = field(default=None, metadata=of(OPTIONAL_PATH))
    smtp_user: str = field(default="", metadata=of(OPTIONAL_TEXT))
    smtp_password_file: Optional[Path] = field(default=None, metadata=of(OPTIONAL_PATH))
    webhook_url: str = field(default="", metadata=of(OPTIONAL_URL))
    webhook_url_file: Optional[Path] = field(default=None, metadata=of(OPTIONAL_PATH))
    webhook_ca_file: Optional[Path] = field(default=None, metadata=of(OPTIONAL_PATH))
    webhook_secret_file: Optional[Path] = field(default=None, metadata=of(OPTIONAL_PATH))
    hook: Optional[Path] = field(default=None, metadata=of(OPTIONAL_PATH))
    deadline_seconds: float = field(default=30.0, metadata=of(DEADLINE))
    digest_seconds: float = field(default=30.0, metadata=of(seconds(0, 3600)))
    max_per_hour: int = field(default=12, metadata=of(whole(1, 1000)))
    severity: str = field(default="warning", metadata=of(choice(*SEVERITIES)))
    muted: tuple[str, ...] = field(
        default=(), metadata=of(optional_list_of(choice(*INCIDENT_KINDS)))
    )
    templates_dir: Path = field(default=Path("/etc/ha-agent/notifications"), metadata=of(PATH))


@dataclass(frozen=True)
class LogConfig:
    """[log]: what is written to the journal, and where else."""

    level: str = field(default="info", metadata=of(choice("debug", "info", "warning", "error")))
    folder: Optional[Path] = field(default=None, metadata=of(OPTIONAL_PATH))


@dataclass(frozen=True)
class Config:
    """The whole configuration: one field a section, '_' for the '-' in its name.

    `origins` maps "section.key" to "default" or "file:line"; `files` are the files that were
    read, in the order in which later ones override earlier ones, and that of the default
    path, be it there or not; VDSM's are not among them. `folders` are where drop-ins
    are looked for, whether they exist or not. `paths` are those that `load` was called with.
    `notes` are sentences that people should read, `unread` those of files that this user may not
    read, so that their layer is left out; `predecessor` is each key of its files, and
    `predecessor_ha_conf` the file with its local maintenance, None where there is none.
    """

    host: HostConfig
    engine: EngineConfig
    storage: StorageConfig
    lease: LeaseConfig
    sanlock: SanlockConfig
    status: StatusConfig
    definition: DefinitionConfig
    vdsm: VdsmConfig
    vdsm_server: VdsmServerConfig
    libvirt: LibvirtConfig
    broker: BrokerConfig
    push: PushConfig
    network: NetworkConfig
    probes: ProbesConfig
    metrics: MetricsConfig
    score: ScoreConfig
    restart: RestartConfig
    agent: AgentConfig
    notify: NotifyConfig
    log: LogConfig
    origins: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    files: tuple[Path, ...] = field(default=(), compare=False)
    folders: tuple[Path, ...] = field(default=(), compare=False)
    paths: tuple[Path, ...] = field(default=(), compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False, repr=False)
    unread: tuple[str, ...] = field(default=(), compare=False, repr=False)
    predecessor: tuple[Use, ...] = field(default=(), compare=False, repr=False)
    predecessor_ha_conf: Optional[Path] = field(default=None, compare=False, repr=False)


SECTIONS: Mapping[str, type] = {
    "host": HostConfig,
    "engine": EngineConfig,
    "storage": StorageConfig,
    "lease": LeaseConfig,
    "sanlock": SanlockConfig,
    "status": StatusConfig,
    "definition": DefinitionConfig,
    "vdsm": VdsmConfig,
    "vdsm-server": VdsmServerConfig,
    "libvirt": LibvirtConfig,
    "broker": BrokerConfig,
    "push": PushConfig,
    "network": NetworkConfig,
    "probes": ProbesConfig,
    "metrics": MetricsConfig,
    "score": ScoreConfig,
    "restart": RestartConfig,
    "agent": AgentConfig,
    "notify": NotifyConfig,
    "log": LogConfig,
}
