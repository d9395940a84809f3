# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.config.layers import ConfigError, load
from tests.small_config import NOWHERE, write_config


@pytest.mark.parametrize("uri", ["qemu:///system", "qemu+unix:///session?socket=/run/x"])
def test_a_uri_of_this_host(tmp_path: Path, uri: str) -> None:
    config = load([write_config(tmp_path, f"[libvirt]\nuri = {uri}\n")], NOWHERE)
    assert config.libvirt.uri == uri


@pytest.mark.parametrize("uri", ["qemu+ssh://other/system", "qemu://other/system", "xen:///", ""])
def test_another_hosts_libvirt_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(ConfigError, match="this host's libvirt"):
        load([write_config(tmp_path, f"[libvirt]\nuri = {uri}\n")], NOWHERE)


def test_networks(tmp_path: Path) -> None:
    text = "[libvirt]\nnetworks = a: bridge=br0; b: network=default; c: user\n"
    config = load([write_config(tmp_path, text)], NOWHERE)
    assert config.libvirt.networks == {"a": "bridge=br0", "b": "network=default", "c": "user"}
    with pytest.raises(ConfigError, match="bridge=NAME"):
        load([write_config(tmp_path, "[libvirt]\nnetworks = a: tap,br=x\n")], NOWHERE)


LIBVIRT = "[host]\nhypervisor = libvirt\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[storage]\ndomain_type = nfs3\n[lease]\nbackend = sanlock\n", "not NFSv3"),
        ("[libvirt]\nvm_lease = sanlock\n", "lockspace joined"),
    ],
)
def test_a_lease_that_would_be_none_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    path = write_config(tmp_path)
    path.write_text(path.read_text().replace("domain_type = localfs\n", ""))
    drop_in = tmp_path / "ha-agent.conf.d"
    drop_in.mkdir()
    (drop_in / "x.conf").write_text(LIBVIRT + text)
    with pytest.raises(ConfigError, match=fault):
        load([path], NOWHERE)


def test_without_libvirt_its_section_means_nothing(tmp_path: Path) -> None:
    config = load([write_config(tmp_path, "[libvirt]\nvm_lease = sanlock\n")], NOWHERE)
    assert config.host.hypervisor == "vdsm"
