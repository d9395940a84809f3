# SPDX-License-Identifier: Apache-2.0
"""Port and TLS out of VDSM's own files, and who says it when several do."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ha_agent.config import layers
from tests.config.test_layers import MINIMAL, write

VDSM = "etc/vdsm/vdsm.conf"
HE = "etc/ovirt-hosted-engine/hosted-engine.conf"


def taken(root: Path, ours: str = "") -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Return values, origins and faults, without the root's name; `ours` is of ha-agent.conf."""
    names = ("vdsm.port", "vdsm.ssl")
    try:
        made = loaded(root, ours)
    except layers.ConfigError as error:
        return {}, {}, [str(fault).replace(f"{root}/", "/") for fault in error.faults]
    values = {name: getattr(made.vdsm, name.partition(".")[2]) for name in names}
    return values, {name: made.origins[name].replace(f"{root}/", "/") for name in names}, []


def test_a_host_without_vdsm_has_our_defaults(tmp_path: Path) -> None:
    values, origins, faults = taken(tmp_path)
    assert values == {"vdsm.port": 54321, "vdsm.ssl": True}
    assert origins == {"vdsm.port": "default", "vdsm.ssl": "default"}
    assert faults == []


def test_vdsms_own_file_says_port_and_ssl(tmp_path: Path) -> None:
    write(tmp_path / VDSM, "# x\n[vars]\nssl = False\n[addresses]\nmanagement_port: 54322\n")
    write(tmp_path / HE, "vdsm_use_ssl=true\n")
    values, origins, faults = taken(tmp_path)
    assert values == {"vdsm.port": 54322, "vdsm.ssl": False}
    assert origins == {
        "vdsm.port": "/etc/vdsm/vdsm.conf:5",
        "vdsm.ssl": "/etc/vdsm/vdsm.conf:3",
    }
    assert faults == []


def test_drop_ins_are_sorted_by_their_own_names(tmp_path: Path) -> None:
    write(tmp_path / VDSM, "[vars]\nssl = false\n")
    write(tmp_path / "run/vdsm/vdsm.conf.d/20-last.conf", "[addresses]\nmanagement_port = 3\n")
    write(tmp_path / "etc/vdsm/vdsm.conf.d/10-a.conf", "[addresses]\nmanagement_port = 2\n")
    write(tmp_path / "usr/lib/vdsm/vdsm.conf.d/00-a.conf", "[addresses]\nmanagement_port = 1\n")
    write(tmp_path / "etc/vdsm/vdsm.conf.d/.99-hidden.conf", "[vars]\nssl = 1\n")
    write(tmp_path / "etc/vdsm/vdsm.conf.d/99-other.txt", "[vars]\nssl = 1\n")
    values, origins, _ = taken(tmp_path)
    assert values == {"vdsm.port": 3, "vdsm.ssl": False}
    assert origins["vdsm.port"] == "/run/vdsm/vdsm.conf.d/20-last.conf:2"


def test_of_two_drop_ins_of_one_name_that_below_etc_counts(tmp_path: Path) -> None:
    for number, folder in enumerate(("usr/lib", "run", "etc"), start=1):
        text = f"[addresses]\nmanagement_port = {number}\n"
        write(tmp_path / folder / "vdsm/vdsm.conf.d/50-x.conf", text)
    assert taken(tmp_path)[0]["vdsm.port"] == 3


def test_the_predecessors_file_says_ssl_where_vdsms_does_not(tmp_path: Path) -> None:
    write(tmp_path / VDSM, "[addresses]\nmanagement_port = 54322\n")
    write(tmp_path / HE, "fqdn=e\nvdsm_use_ssl=False\n")
    values, origins, _ = taken(tmp_path)
    assert not values["vdsm.ssl"]
    assert origins["vdsm.ssl"] == f"/{HE}:2"


def test_what_is_ours_is_not_even_looked_for(tmp_path: Path) -> None:
    write(tmp_path / VDSM, "[vars]\nssl = maybe\n[addresses]\nmanagement_port = 0\n")
    values, origins, faults = taken(tmp_path, "[vdsm]\nport = 54322\nssl = true\n")
    assert (values["vdsm.port"], values["vdsm.ssl"], faults) == (54322, True, [])
    assert origins["vdsm.ssl"].startswith("/c.conf:")


def test_a_setting_that_all_hosts_share_counts_more_than_vdsms_file(tmp_path: Path) -> None:
    write(tmp_path / VDSM, "[vars]\nssl = true\n")
    write(tmp_path / HE, "vdsm_use_ssl=true\nha_agent_vdsm_ssl=false\n")
    values, origins, _ = taken(tmp_path)
    assert (values["vdsm.ssl"], origins["vdsm.ssl"]) == (False, f"/{HE}:2")


@pytest.mark.parametrize(
    ("file", "text", "fault"),
    [
        (VDSM, "[vars]\nssl = maybe\n", "ssl = maybe: expected true or false"),
        (
            VDSM,
            "[addresses]\nmanagement_port = 99999\n",
            "management_port = 99999: expected a whole number, 1 to 65535",
        ),
        (HE, "a=b\nvdsm_use_ssl=perhaps\n", "vdsm_use_ssl = perhaps: expected true or false"),
    ],
)
def test_a_bad_value_is_a_fault_with_file_and_line(
    tmp_path: Path, file: str, text: str, fault: str
) -> None:
    write(tmp_path / file, text)
    assert taken(tmp_path)[2] == [f"/{file}:2: {fault}"]


@pytest.mark.parametrize(
    ("make", "note"),
    [
        (lambda path: path.mkdir(parents=True), "can't be read: Is a directory"),
        (lambda path: write(path, "#" * ((1 << 20) + 1)), "is larger than 1 MiB"),
    ],
)
def test_a_file_that_cant_be_used_is_told_by_the_origin(
    tmp_path: Path, make: Any, note: str
) -> None:
    make(tmp_path / VDSM)
    values, origins, faults = taken(tmp_path)
    assert (values.get("vdsm.ssl"), faults) == (True, [])
    assert origins["vdsm.ssl"].startswith(f"default; /{VDSM}")
    assert origins["vdsm.ssl"].endswith(note)


def loaded(tmp_path: Path, text: str = "") -> layers.Config:
    path = write(tmp_path / "c.conf", MINIMAL + text)
    return layers.load([path], {}, host_root=tmp_path)


def test_show_tells_where_it_is_from(tmp_path: Path) -> None:
    write(tmp_path / VDSM, "[vars]\nssl = no\n")
    lines = [" ".join(line.split()) for line in layers.show(loaded(tmp_path)).splitlines()]
    assert f"ssl = false # {tmp_path}/{VDSM}:2" in lines
    assert "port = 54321 # default" in lines
    ours = loaded(tmp_path, "[vdsm]\nssl = true\n")
    assert ours.vdsm.ssl
    assert ours.origins["vdsm.ssl"].startswith(f"{tmp_path}/c.conf:")


def test_a_fault_in_vdsms_file_is_one_of_the_configuration(tmp_path: Path) -> None:
    write(tmp_path / VDSM, "[vars]\nssl = maybe\n")
    with pytest.raises(layers.ConfigError) as caught:
        loaded(tmp_path)
    [fault] = caught.value.faults
    assert fault.where == f"{tmp_path}/{VDSM}:2"


_LINES = st.lists(
    st.sampled_from(
        (
            *("[vars]", "[addresses]", "[other]", "", "#x", "; ssl = no", "x = 1", "ssl"),
            *("ssl = no", " ssl=off", "SSL : false", "\tssl = false"),
            *("management_port=7", "  management_port = 8"),
        )
    ),
    max_size=8,
)


@given(_LINES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_that_vdsm_takes_says_the_same_to_us(tmp_path: Path, lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    parser = configparser.ConfigParser()
    parser.read_string("[vars]\nssl = true\n[addresses]\nmanagement_port = 54321\n")
    try:
        parser.read_string(text)
        ssl = parser.getboolean("vars", "ssl")
        port = parser.getint("addresses", "management_port")
    except (configparser.Error, ValueError):
        return  # VDSM does not start with it
    write(tmp_path / VDSM, text)
    values, _, faults = taken(tmp_path)
    assert (values, faults) == ({"vdsm.port": port, "vdsm.ssl": ssl}, [])
