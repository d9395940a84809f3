# SPDX-License-Identifier: Apache-2.0
"""What a deploy writes into hosted-engine.conf and the configuration volume, from its answers.

hosted-engine.conf has the predecessor's keys, so that its tools work, and our own settings as
`ha_agent_<section>_<key>`. The archive has that file without `host_id`, which is each host's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from ha_agent import __version__
from ha_agent.compat import hosted_engine_conf
from ha_agent.compat.conf_writer import new_hosted_engine_conf, set_ini_keys
from ha_agent.config.schema import SECTIONS, Config
from ha_agent.errors import BadInput
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.translate import domain_xml
from ha_agent.ovfstore.vmconf import vm_conf_text
from ha_agent.setup.deploy.deployment import (
    CONFIGURATION,
    DISK,
    LOCKSPACE,
    STATUS,
    Deployment,
    Subject,
)
from ha_agent.setup.step import SetupRefused
from ha_agent.vdsm.client.storage_server import DEFAULT_CONNECTION_ID, parse_portals
from ha_agent.vdsm.client.verbs import NO_POOL

HOSTED_ENGINE_CONF = Path("etc/ovirt-hosted-engine/hosted-engine.conf")
VM_CONF = "/var/run/ovirt-hosted-engine-ha/vm.conf"
_THEIRS = {"nfs": "nfs", "nfs3": "nfs", "glusterfs": "glusterfs", "iscsi": "iscsi", "fc": "fc"}
_VOLUMES = {"metadata": STATUS, "lockspace": LOCKSPACE, "conf": CONFIGURATION}


def hosted_engine_values(subject: Subject, domain_path: Path) -> dict[str, str]:
    """Return all keys of hosted-engine.conf and their values, in order."""
    answers = subject.answers
    values = {
        "fqdn": answers.text("engine_fqdn"),
        "vm_disk_id": subject.image(DISK),
        "vm_disk_vol_id": subject.volume(DISK),
        "vmid": subject.vm_uuid,
        "host_id": str(subject.host_id),
        **_storage(subject),
        "spUUID": NO_POOL,
        "sdUUID": subject.domain_uuid,
        "connectionUUID": DEFAULT_CONNECTION_ID,
        "conf": VM_CONF,
        "vdsm_use_ssl": answers.text("vdsm_ssl").lower(),
        "bridge": answers.text("bridge"),
        "gateway": answers.text("gateway"),
        "network_test": "ping" if answers.text("gateway") else "none",
    }
    for name, role in _VOLUMES.items():
        values[f"{name}_image_UUID"] = subject.image(role)
        values[f"{name}_volume_UUID"] = subject.volume(role)
    values["configured"] = "True"
    values.update(_own(subject, domain_path))
    return values


def hosted_engine_text(subject: Subject, domain_path: Path) -> str:
    """Return this host's hosted-engine.conf. Raises BadInput for what the shell would not take."""
    return new_hosted_engine_conf(hosted_engine_values(subject, domain_path))


def shared_files(subject: Subject, domain_path: Path, ovf: bytes) -> dict[str, bytes]:
    """Return the five files of the configuration volume. Raises BadInput."""
    shared = hosted_engine_values(subject, domain_path)
    del shared["host_id"]
    vm = parse_ovf(ovf, where="the engine VM's OVF")
    xml = domain_xml(vm, storage_domain_uuid=subject.domain_uuid).xml
    return {
        "version": f"ha-agent {__version__}\n".encode(),
        "fhanswers.conf": _predecessor_answers(subject).encode(),
        "hosted-engine.conf": new_hosted_engine_conf(shared).encode(),
        "broker.conf": broker_conf(subject).encode(),
        "vm.conf": vm_conf_text(vm, xml).encode(),
    }


def broker_conf(subject: Subject) -> str:
    """Return the predecessor's broker.conf."""
    answers = subject.answers
    server = answers.text("smtp_server")
    if not server:
        return set_ini_keys("", {("email", "smtp-server"): "localhost"}, where="broker.conf")
    people = ",".join(answers.values.get("destination_emails", ()))
    return set_ini_keys(
        "",
        {
            ("email", "smtp-server"): server,
            ("email", "smtp-port"): "25",
            ("email", "source-email"): answers.text("source_email"),
            ("email", "destination-emails"): people,
            ("notify", "state_transition"): "maintenance|start|stop|migrate|up|down",
        },
        where="broker.conf",
    )


def load_config(subject: Subject, domain_path: Path) -> Config:
    """Return what agent and broker will make of these files and this host's own, with all checks.

    Raises BadInput that names the key.
    """
    try:
        return subject.files.settings_with(hosted_engine_text(subject, domain_path))
    except SetupRefused as error:
        raise BadInput(f"with these answers {error}") from None


async def config_of(deployment: Deployment) -> Config:
    """Return the same for where the domain is now. Raises BadInput, EnvironmentFault."""
    return load_config(deployment, await deployment.domain_path())


def read_conf(path: Path) -> Optional[hosted_engine_conf.HostedEngineConf]:
    """Return a hosted-engine.conf, None where there is none. Raises BadInput."""
    try:
        data = path.read_bytes()[: hosted_engine_conf.MAX_BYTES + 1]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInput(f"can't be read: {error.strerror}", where=str(path)) from None
    return hosted_engine_conf.parse(data.decode("utf-8", "replace"), str(path))


def _storage(subject: Subject) -> dict[str, str]:
    answers = subject.answers
    kind = answers.text("storage_type")
    if kind not in _THEIRS:
        return {}
    values = {"domainType": _THEIRS[kind]}
    if kind == "iscsi":
        portals = parse_portals(answers.text("storage_connection"))
        values["storage"] = ",".join(portal.address for portal in portals)
        values["port"] = ",".join(str(portal.port) for portal in portals)
        values["iqn"] = answers.text("iscsi_target")
        for key, name in (
            ("portal", "iscsi_tpgt"),
            ("user", "iscsi_user"),
            ("password", "iscsi_password"),
        ):
            if answers.text(name):
                values[key] = answers.text(name)
    elif kind != "fc":
        values["storage"] = answers.text("storage_connection")
        values["mnt_options"] = answers.text("mount_options")
    if kind == "nfs":
        values["nfs_version"] = "v" + answers.text("nfs_version").replace(".", "_")
    elif kind == "nfs3":
        values["nfs_version"] = "v3"
    return values


def _own(subject: Subject, domain_path: Path) -> dict[str, str]:
    """Return our settings that the predecessor has no key for."""
    answers = subject.answers
    found = {("storage", "domain_path"): str(domain_path)}
    kind = answers.text("storage_type")
    if kind not in _THEIRS:
        found["storage", "domain_type"] = kind
        found["storage", "connection"] = answers.text("storage_connection")
        for name in ("mount_options", "vfs_type"):
            if answers.text(name):
                found["storage", name] = answers.text(name)
    if answers.text("lease_backend") != "lockfile":
        found["lease", "backend"] = answers.text("lease_backend")
    if answers.text("sanlock_path"):
        found["sanlock", "path"] = answers.text("sanlock_path")
    if not answers.text("bridge"):
        # An empty bridge in the predecessor's key is none that was given: ours has a default.
        found["network", "bridge"] = ""
    if answers.text("health_url"):
        found["engine", "health_url"] = answers.text("health_url")
    for key, name, usual in (
        ("host", "vdsm_host", "localhost"),
        ("port", "vdsm_port", "54321"),
        ("ssl", "vdsm_ssl", "True"),
    ):
        if answers.text(name) != usual:
            found["vdsm", key] = answers.text(name).lower()
    if answers.text("smtp_server"):
        found["notify", "smtp_host"] = answers.text("smtp_server")
        found["notify", "mail_from"] = answers.text("source_email")
        found["notify", "mail_to"] = ",".join(answers.values.get("destination_emails", ()))
    found.update(answers.settings)
    return {
        f"ha_agent_{section.replace('-', '_')}_{key}": text
        for (section, key), text in found.items()
        if section in SECTIONS
    }


def _predecessor_answers(subject: Subject) -> str:
    """Return fhanswers.conf: what the predecessor's set-up looks up of our answers."""
    answers = subject.answers
    pairs = {
        "OVEHOSTED_NETWORK/fqdn": answers.text("engine_fqdn"),
        "OVEHOSTED_NETWORK/bridgeName": answers.text("bridge"),
        "OVEHOSTED_NETWORK/gateway": answers.text("gateway"),
        "OVEHOSTED_STORAGE/sdUUID": subject.domain_uuid,
        "OVEHOSTED_STORAGE/spUUID": NO_POOL,
        "OVEHOSTED_STORAGE/storageDomainConnection": answers.text("storage_connection"),
        "OVEHOSTED_VM/vmUUID": subject.vm_uuid,
    }
    lines = [f"{key}=str:{value}" for key, value in pairs.items()]
    return "\n".join(["[environment:default]", *lines, ""])
