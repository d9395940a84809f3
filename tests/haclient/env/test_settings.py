# SPDX-License-Identifier: Apache-2.0
"""The client finds the broker where the daemons' own reader of the configuration has it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ovirt_hosted_engine_ha.env.settings import Settings, read_settings

from ha_agent.config import layers
from tests.small_config import write_config


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "etc/ovirt-hosted-engine/hosted-engine.conf"
    path.parent.mkdir(parents=True)
    return path


def environ(tmp_path: Path) -> dict[str, str]:
    return {
        "HA_AGENT_CONFIG": str(tmp_path / "ha-agent.conf"),
        "HA_AGENT_HOST_ROOT": str(tmp_path),
    }


def read(tmp_path: Path, conf: Path) -> Settings:
    return read_settings(environ(tmp_path))


def test_nothing_there_is_no_host_of_a_hosted_engine(tmp_path: Path, conf: Path) -> None:
    assert read(tmp_path, conf) == Settings("/run/ha-agent/broker.socket", None)


@pytest.mark.parametrize(
    "drop_in",
    ["", "[broker]\nsocket = /x/y\n", "[host]\nid = 7\nrun_dir = /x\n", "[broker]\nsocket =\n"],
)
def test_it_reads_as_the_daemons_do(tmp_path: Path, conf: Path, drop_in: str) -> None:
    path = write_config(tmp_path)
    if drop_in:
        folder = tmp_path / "ha-agent.conf.d"
        folder.mkdir()
        (folder / "50.conf").write_text(f"# a comment\n{drop_in}")
        (folder / ".hidden.conf").write_text("[broker]\nsocket = /hidden\n")
        (folder / "not").write_text("[broker]\nsocket = /not\n")
    daemons = layers.load([path], environ(tmp_path))
    found = read(tmp_path, conf)
    assert (found.socket, found.host_id) == (str(daemons.broker.socket), daemons.host.id)


def test_hosted_engine_conf_alone(tmp_path: Path, conf: Path) -> None:
    conf.write_text("fqdn=engine\nhost_id=3\n")
    assert read(tmp_path, conf) == Settings("/run/ha-agent/broker.socket", 3)
    conf.write_text("host_id=3\nha_agent_host_run_dir=/run/other\n")
    assert read(tmp_path, conf) == Settings("/run/other/broker.socket", 3)
    conf.write_text("host_id=3\nha_agent_broker_socket=/a/b\n")
    assert read(tmp_path, conf) == Settings("/a/b", 3)
    (tmp_path / "ha-agent.conf").write_text("[host]\nid = 4\n[broker]\nsocket = /c\n")
    assert read(tmp_path, conf) == Settings("/c", 4)


@pytest.mark.parametrize("text", ["host_id=\n", "host_id=None\n", "host_id=0\n", "host_id=-1\n"])
def test_a_host_id_that_is_none(tmp_path: Path, conf: Path, text: str) -> None:
    conf.write_text(text)
    assert read(tmp_path, conf).host_id is None


def test_what_is_wrong_is_for_the_daemons_to_tell(tmp_path: Path, conf: Path) -> None:
    conf.write_bytes(b"\xff\xfe\n=\nhost_id = 5 \n[x\nno pair\n")
    (tmp_path / "ha-agent.conf").write_bytes(b"\xef\xbb\xbf[\nid\n=\n[host]\nname = \xff\n")
    assert read(tmp_path, conf).host_id == 5


def test_a_file_that_may_not_be_read(tmp_path: Path, conf: Path) -> None:
    conf.mkdir()
    with pytest.raises(OSError, match="directory"):
        read(tmp_path, conf)


def test_the_environment_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "HA_AGENT_CONFIG", str(write_config(tmp_path)))
    monkeypatch.setitem(os.environ, "HA_AGENT_HOST_ROOT", str(tmp_path))
    assert read_settings().host_id == 1


def test_another_hosted_engine_conf(tmp_path: Path, conf: Path) -> None:
    conf.write_text("ha_agent_broker_socket=/a/b\n")
    other = tmp_path / "other.conf"
    other.write_text("ha_agent_broker_socket=/c\n")
    for named, socket in ((str(other), "/c"), ("", f"{tmp_path}/run/broker.socket")):
        write_config(tmp_path)
        drop_in = tmp_path / "ha-agent.conf.d" / "1.conf"
        drop_in.parent.mkdir(exist_ok=True)
        drop_in.write_text(f"[storage]\nhosted_engine_conf = {named}\n")
        daemons = layers.load([], environ(tmp_path))
        assert read(tmp_path, conf).socket == str(daemons.broker.socket) == socket


def test_without_ha_agent_conf_the_root_counts(tmp_path: Path, conf: Path) -> None:
    conf.write_text("host_id=3\nha_agent_broker_socket=None\n")
    root = {"HA_AGENT_HOST_ROOT": str(tmp_path)}
    assert read_settings(root) == Settings("/run/ha-agent/broker.socket", 3)
    (tmp_path / "etc/ha-agent").mkdir()
    (tmp_path / "etc/ha-agent/ha-agent.conf").write_text("[host]\nid = 4\n")
    assert read_settings(root).host_id == 4
