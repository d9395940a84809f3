# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.compat import hosted_engine_conf
from ha_agent.errors import BadInput
from ha_agent.setup.deploy.config import (
    broker_conf,
    hosted_engine_text,
    hosted_engine_values,
    load_config,
    read_conf,
)
from ha_agent.setup.deploy.deployment import STATUS
from tests.setup.deploy_fakes import DOMAIN, VM, FakeVdsm, make_deployment, make_journal

PLACE = Path("/share") / DOMAIN
ISCSI = {
    "storage_type": "iscsi", "storage_connection": "192.0.2.1,192.0.2.2:3261",
    "iscsi_target": "iqn.2026-11.org.example:he", "lease_backend": "sanlock",
    "sanlock_path": "/dev/vg/lease",
}  # fmt: skip
NFS = {"storage_type": "nfs", "storage_connection": "s:/he", "mount_options": "soft"}


def values(tmp_path: Path, **changes: str) -> dict[str, str]:
    with make_journal(tmp_path) as journal:
        return hosted_engine_values(
            make_deployment(tmp_path, journal, FakeVdsm(tmp_path), **changes), PLACE
        )


def test_the_predecessors_keys_say_what_was_answered(tmp_path: Path) -> None:
    found = values(tmp_path, **NFS, gateway="192.0.2.254")
    assert (found["vmid"], found["sdUUID"], found["host_id"]) == (VM, DOMAIN, "1")
    assert (found["domainType"], found["storage"]) == ("nfs", "s:/he")
    assert (found["nfs_version"], found["mnt_options"]) == ("v4", "soft")
    assert (found["gateway"], found["network_test"]) == ("192.0.2.254", "ping")
    assert found["ha_agent_storage_domain_path"] == str(PLACE)


def test_without_a_bridge_none_is_looked_at(tmp_path: Path) -> None:
    with make_journal(tmp_path) as journal:
        deployment = make_deployment(tmp_path, journal, FakeVdsm(tmp_path), bridge="")
        assert load_config(deployment, PLACE).network.bridge == ""


def test_iscsi_in_the_predecessors_form_means_the_same_portals(tmp_path: Path) -> None:
    chap = {"iscsi_user": "u", "iscsi_password": "hush"}
    with make_journal(tmp_path) as journal:
        deployment = make_deployment(tmp_path, journal, FakeVdsm(tmp_path), **ISCSI, **chap)
        text = hosted_engine_text(deployment, PLACE)
        server = hosted_engine_conf.server_of(hosted_engine_conf.parse(text, "x"), "4")
        assert server == deployment.server
        config = load_config(deployment, PLACE)
        assert config.lease.backend == "sanlock"
        assert config.sanlock.path == Path("/dev/vg/lease")


@pytest.mark.parametrize(
    "changes", [{}, NFS, {"storage_type": "glusterfs", "storage_connection": "s:/v"}]
)
def test_agent_and_broker_can_use_what_is_written(tmp_path: Path, changes: dict[str, str]) -> None:
    with make_journal(tmp_path) as journal:
        deployment = make_deployment(tmp_path, journal, FakeVdsm(tmp_path), **changes)
        config = load_config(deployment, PLACE)
        assert config.engine.vm_uuid == VM
        assert config.host.id == 1
        assert config.storage.domain_path == PLACE
        assert config.storage.status_volume == deployment.volume(STATUS)
        assert config.lease.path == PLACE / "ha_agent" / f"{VM}.lease"


def test_settings_are_checked_before_anything_is_done(tmp_path: Path) -> None:
    with make_journal(tmp_path) as journal:
        changes = {"lease.lease_expiry_seconds": "1"}
        deployment = make_deployment(tmp_path, journal, FakeVdsm(tmp_path), **changes)
        with pytest.raises(BadInput, match="with these answers the configuration has"):
            load_config(deployment, PLACE)


def test_a_password_that_the_shell_would_not_take_is_refused_unseen(tmp_path: Path) -> None:
    chap = {"iscsi_user": "u", "iscsi_password": "a b$c"}
    with make_journal(tmp_path) as journal:
        deployment = make_deployment(tmp_path, journal, FakeVdsm(tmp_path), **ISCSI, **chap)
        with pytest.raises(BadInput, match="password: has blanks") as caught:
            hosted_engine_text(deployment, PLACE)
        assert "a b$c" not in str(caught.value)


def test_mail_goes_to_who_was_named(tmp_path: Path) -> None:
    with make_journal(tmp_path) as journal:
        mail = {"smtp_server": "mail.example.org", "destination_emails": "a@x.org, b@x.org"}
        text = broker_conf(make_deployment(tmp_path, journal, FakeVdsm(tmp_path), **mail))
        assert "smtp-server = mail.example.org" in text
        assert "destination-emails = a@x.org,b@x.org" in text


def test_a_missing_file_is_none(tmp_path: Path) -> None:
    assert read_conf(tmp_path / "absent") is None
    (tmp_path / "odd").write_text("nonsense\n")
    with pytest.raises(BadInput, match="KEY=VALUE"):
        read_conf(tmp_path / "odd")
