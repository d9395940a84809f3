# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import os
import pickle
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.config.layers import NOT_SET, Config, ConfigError, load, show
from ha_agent.config.schema import SECTIONS
from tests.small_config import NOWHERE

SHIPPED = Path(__file__).resolve().parents[2] / "conf" / "ha-agent.conf"
DOMAIN = "00000000-0000-4000-8000-000000000002"
MINIMAL = f"""
[host]
id = 7
name = host7
[engine]
vm_uuid = 00000000-0000-4000-8000-000000000001
health_url = http://engine.example.com/ovirt-engine/services/health
[storage]
domain_uuid = {DOMAIN}
domain_path = /rhev/{DOMAIN}
status_image = 00000000-0000-4000-8000-000000000003
status_volume = 00000000-0000-4000-8000-000000000004
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def load_text(folder: Path, text: str) -> Config:
    return load([write(folder / "c.conf", text)], NOWHERE)


def faults_of(folder: Path, text: str) -> Sequence[str]:
    """Return the faults of `text`, with the folder's name taken out."""
    with pytest.raises(ConfigError) as caught:
        load_text(folder, text)
    return [str(fault).replace(f"{folder}/", "") for fault in caught.value.faults]


def test_defaults_and_what_is_derived(tmp_path: Path) -> None:
    config = load_text(tmp_path, MINIMAL)
    assert config.host.id == 7
    assert config.lease.path == Path(
        f"/rhev/{DOMAIN}/ha_agent/00000000-0000-4000-8000-000000000001.lease"
    )
    assert config.lease.fence_after_seconds == 11
    assert config.broker.socket == Path("/run/ha-agent/broker.socket")
    assert config.broker.socket_mode == 0o666
    assert config.vdsm_server.domain_paths == (Path(f"/rhev/{DOMAIN}"),)
    assert config.vdsm_server.networks == {"ovirtmgmt": "bridge,br=ovirtmgmt"}
    assert config.restart.backoff_seconds == (0.0, 1.0, 5.0, 15.0)
    assert config.network.port is None


def test_host_name_is_the_systems_by_default(tmp_path: Path) -> None:
    config = load_text(tmp_path, MINIMAL.replace("name = host7", "name ="))
    assert config.host.name == os.uname().nodename


def test_values_of_every_kind(tmp_path: Path) -> None:
    config = load_text(
        tmp_path,
        MINIMAL
        + """
[lease]
path = /elsewhere/engine.lease
renew_interval_seconds = 0.5
[broker]
socket_mode = 600
[network]
test = tcp
address = fe80::1%eth0
port = 443
[vdsm]
ssl = false
[vdsm-server]
domain_paths = /a/b, /c
networks = ovirtmgmt: bridge,br=b0; other: user,hostfwd=tcp:127.0.0.1:18080-:80
[restart]
backoff_seconds = 0.5
""",
    )
    assert config.lease.path == Path("/elsewhere/engine.lease")
    assert config.lease.renew_interval_seconds == 0.5
    assert config.broker.socket_mode == 0o600
    assert config.network.port == 443
    assert not config.vdsm.ssl
    assert config.vdsm_server.domain_paths == (Path("/a/b"), Path("/c"))
    assert config.vdsm_server.networks == {
        "ovirtmgmt": "bridge,br=b0",
        "other": "user,hostfwd=tcp:127.0.0.1:18080-:80",
    }
    assert config.restart.backoff_seconds == (0.5,)


def test_config_is_frozen_and_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    config = load_text(tmp_path, MINIMAL)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.host.id = 8  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(config)) == config


def test_all_faults_in_one_error_by_file_and_line(tmp_path: Path) -> None:
    text = MINIMAL.replace("id = 7", "id = 0") + (
        "[leese]\nrenew_interval_seconds = 3\n"
        "[lease]\nrenew_intervall_seconds = 3\nrenew_deadline_seconds = soon\n"
        "[status]\nhost_alive_seconds = 15\n"
    )
    assert faults_of(tmp_path, text) == [
        "c.conf:3: id = 0: expected a whole number, 1 to 2000",
        "c.conf:13: unknown section [leese]; did you mean [lease]?",
        "c.conf:16: unknown key 'renew_intervall_seconds' in [lease]; "
        "did you mean renew_interval_seconds?",
        "c.conf:17: renew_deadline_seconds = soon: expected seconds, 0.05 to 60",
        "c.conf:19: host_alive must be more than 3 * publish_interval, or one late block makes a "
        "host dead (publish_interval_seconds = 5, host_alive_seconds = 15)",
    ]


def test_error_text_counts_and_lists(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, MINIMAL.replace("id = 7\n", "").replace("/rhev/", "rhev/"))
    assert str(caught.value).splitlines() == [
        "the configuration has 2 faults:",
        f"  {tmp_path}/c.conf:9: domain_path = rhev/{DOMAIN}: expected an absolute path",
        "  [host] id is missing: expected a whole number, 1 to 2000",
    ]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (
            "speed = 3",
            "unknown key 'speed' in [host]; known are id, name, hypervisor, run_dir, state_dir",
        ),
        ("domain_uuid = 3", "unknown key 'domain_uuid' in [host]; it belongs to [storage]"),
        ("id = 8", "id is in line 3 of [host] already"),
        ("id", "'id' is neither [section] nor key = value"),
        ("[host", "unknown section [host; known are host, engine, "),
        ("[]", "unknown section []; known are host, engine, "),
        ("run_dir = /run\x00/x", "has a control character in it"),
        ("run_dir =", "run_dir = : expected an absolute path"),
        ("id ï = 8", "unknown key 'id ï' in [host]; did you mean id?"),
    ],
)
def test_a_faulty_line(tmp_path: Path, line: str, fault: str) -> None:
    [found] = faults_of(tmp_path, MINIMAL.replace("name = host7", f"name = host7\n{line}"))
    assert found.startswith(f"c.conf:5: {fault}")


def test_key_before_any_section(tmp_path: Path) -> None:
    assert faults_of(tmp_path, "x = 1\n" + MINIMAL) == [
        "c.conf:1: 'x = 1' stands before any [section]"
    ]


def test_drop_ins_override_by_name_and_origins_tell(tmp_path: Path) -> None:
    write(tmp_path / "c.conf.d" / "20.conf", "[log]\nlevel = debug\n")
    write(tmp_path / "c.conf.d" / "10.conf", "[log]\nlevel = error\n[host]\nid = 9\n")
    write(tmp_path / "c.conf.d" / "30.conf.rpmsave", "[log]\nlevel = warning\n")
    write(tmp_path / "c.conf.d" / ".40.conf", "[log]\nlevel = warning\n")
    config = load_text(tmp_path, MINIMAL)
    assert (config.log.level, config.host.id) == ("debug", 9)
    assert config.origins["log.level"] == f"{tmp_path}/c.conf.d/20.conf:2"
    assert config.origins["host.id"] == f"{tmp_path}/c.conf.d/10.conf:4"
    assert config.origins["lease.path"] == "default"
    assert [file.name for file in config.files] == ["c.conf", "10.conf", "20.conf"]
    assert config.folders == (tmp_path / "c.conf.d",)


def test_later_path_overrides_earlier(tmp_path: Path) -> None:
    first = write(tmp_path / "a.conf", MINIMAL)
    second = write(tmp_path / "b.conf", "[host]\nid = 2\n")
    assert load([first, second], NOWHERE).host.id == 2


def test_environment_names_the_file_unless_paths_are_given(tmp_path: Path) -> None:
    named = write(tmp_path / "a.conf", MINIMAL)
    given_path = write(tmp_path / "b.conf", MINIMAL.replace("id = 7", "id = 8"))
    environ = {"HA_AGENT_CONFIG": str(named)}
    assert load([], environ).host.id == 7
    assert load([given_path], environ).host.id == 8


def test_unreadable_files(tmp_path: Path) -> None:
    missing = tmp_path / "missing.conf"
    latin = tmp_path / "latin.conf"
    latin.write_bytes(b"[host]\nname = M\xfcnchen\n")
    large = write(tmp_path / "large.conf", "#" * (1 << 20) + "\n")
    with pytest.raises(ConfigError) as caught:
        load([missing, latin, large, Path("/")], NOWHERE)
    assert [fault.what for fault in caught.value.faults] == [
        f"{missing}: can't be read: No such file or directory",
        f"{latin}:2: is not UTF-8 text",
        f"{large}: is larger than 1 MiB: not a configuration file",
        "/: can't be read: Is a directory",
    ]


def test_drop_in_folder_that_is_none(tmp_path: Path) -> None:
    write(tmp_path / "c.conf.d", "")
    assert faults_of(tmp_path, MINIMAL) == ["c.conf.d: can't be read: Not a directory"]


def test_windows_line_ends_tabs_and_byte_order_mark(tmp_path: Path) -> None:
    text = "\ufeff" + MINIMAL.strip().replace("\n", "\r\n").replace(" = ", "\t=\t")
    assert load_text(tmp_path, text).host.id == 7


def test_show_prints_every_key_with_its_origin(tmp_path: Path) -> None:
    text = show(load_text(tmp_path, MINIMAL))
    lines = [re.sub(" +", " ", line) for line in text.splitlines()]
    assert f"id = 7 # {tmp_path}/c.conf:3" in lines
    assert "socket_mode = 0666 # default" in lines
    assert "backoff_seconds = 0, 1, 5, 15 # default" in lines
    assert "health_ca_file = # default" in lines
    keys = sum(len(dataclasses.fields(section)) for section in SECTIONS.values())
    assert len([line for line in lines if " # " in line]) == keys
    assert "# a dead host's lease is free after 140 s" in lines
    assert [line for line in lines if line.startswith("[")] == [f"[{name}]" for name in SECTIONS]


def test_what_show_prints_can_be_loaded_again(tmp_path: Path) -> None:
    config = load_text(tmp_path, MINIMAL + "[network]\ntest = ping\naddress = 10.0.0.1\n")
    again = re.sub(" +# .*", "", show(config))
    assert load_text(tmp_path, again) == config


# --- conf/ha-agent.conf against the code -------------------------------------------------


def shipped_keys() -> Iterator[tuple[str, str, str, str]]:
    """Yield (section, key, value, the comment above) of each key in the shipped file."""
    section, comment = "", ""
    for line in SHIPPED.read_text(encoding="utf-8").splitlines():
        key = re.fullmatch(r"#([a-z_]+) =(.*)", line)
        if line.startswith("["):
            section, comment = line[1:-1], ""
        elif key:
            yield section, key[1], key[2].strip(), comment
        elif line.startswith("# "):
            comment += line[2:] + " "
        elif line == "":
            comment = ""
        else:
            assert line == "#", f"what is this line? {line}"


def test_shipped_file_has_every_key_once_and_in_order() -> None:
    written = [(section, key) for section, key, _, _ in shipped_keys()]
    known = [
        (name, key.name)
        for name, section in SECTIONS.items()
        for key in dataclasses.fields(section)
    ]
    assert sorted(written) == sorted(known)
    assert list(dict.fromkeys(section for section, _ in written)) == list(SECTIONS)


def test_shipped_file_tells_defaults_and_reasons() -> None:
    for section, key, value, comment in shipped_keys():
        [entry] = [f for f in dataclasses.fields(SECTIONS[section]) if f.name == key]
        name = f"[{section}] {key}"
        if entry.default is not dataclasses.MISSING:
            default = entry.metadata["kind"].form(entry.default)
        elif entry.default_factory is not dataclasses.MISSING:
            default = entry.metadata["kind"].form(entry.default_factory())
        elif entry.metadata["derived"]:
            default = ""
            assert "Default: empty, " in comment, name
        else:
            assert comment.startswith("Required. "), name
            continue
        assert value == default, name
        # A group of paths has one comment; all else says its own default.
        own = f"Default: {default or 'empty'}"
        assert own in comment or "Default: VDSM's own files" in comment, name
        if key.endswith("_seconds"):
            assert "Unit: seconds" in comment, name
            bounds = re.search(r"[0-9.]+ to [0-9.]+$", entry.metadata["kind"].expected)
            assert bounds, name
            assert bounds[0] in comment, name


def test_shipped_file_uncommented_loads_and_is_the_default(tmp_path: Path) -> None:
    text = re.sub(r"^#([a-z_]+ =)", r"\1", SHIPPED.read_text(encoding="utf-8"), flags=re.M)
    machine = "/etc/ovirt-hosted-engine"
    config = load_text(tmp_path, text.replace(machine, NOWHERE["HA_AGENT_HOST_ROOT"] + machine))
    kept = "\n".join(
        f"[{section}]\n{key} = {value}"
        for section, key, value, comment in shipped_keys()
        if comment.startswith("Required. ")
    )
    assert load_text(tmp_path, kept) == config


def test_shipped_file_as_it_is_asks_for_what_is_required() -> None:
    with pytest.raises(ConfigError) as caught:
        load([SHIPPED], NOWHERE)
    missing = [str(fault).split(" is missing")[0] for fault in caught.value.faults]
    assert missing == [
        "[host] id",
        "[engine] vm_uuid",
        "[engine] health_url",
        "[storage] domain_uuid",
        "[storage] domain_path",
        "[storage] status_image",
        "[storage] status_volume",
        "this host is not set up: `ha-agent deploy` sets up the first host, "
        "`ha-agent join` one more",
    ]


@given(st.binary(max_size=300))
def test_any_bytes_give_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "c.conf"
    path.write_bytes(data)
    with pytest.raises(ConfigError):
        load([path], NOWHERE)


_LINES = st.lists(
    st.one_of(
        st.sampled_from([f"[{name}]" for name in SECTIONS]),
        st.builds(
            "{} = {}".format,
            st.sampled_from(
                [key.name for s in SECTIONS.values() for key in dataclasses.fields(s)]
            ),
            st.one_of(st.text(max_size=20), st.integers().map(str), st.floats().map(str)),
        ),
        st.text(max_size=30),
    ),
    max_size=30,
)


@given(_LINES)
def test_any_lines_give_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "c.conf"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load([path], NOWHERE)
    assert all("\n" not in str(fault) for fault in caught.value.faults)


class TestAHostThatIsNotSetUp:
    """For ha-vdsm, which `ha-agent deploy` speaks to before there is anything else."""

    ALL: ClassVar[dict[str, str]] = {
        "host.id": "1",
        "engine.vm_uuid": "00000000-0000-0000-0000-000000000000",
        "engine.health_url": "http://127.0.0.1/",
        "storage.domain_uuid": "00000000-0000-0000-0000-000000000000",
        "storage.domain_path": "/x/00000000-0000-0000-0000-000000000000",
        "storage.status_image": "00000000-0000-0000-0000-000000000000",
        "storage.status_volume": "00000000-0000-0000-0000-000000000000",
    }

    def test_needs_no_file(self, tmp_path: Path) -> None:
        config = load([], {}, host_root=tmp_path, not_needed=self.ALL)
        assert config.origins["host.id"] == NOT_SET
        assert config.host.id == 1

    def test_takes_what_its_file_says(self, tmp_path: Path) -> None:
        path = tmp_path / "ha-agent.conf"
        path.write_text("[vdsm-server]\nlisten_port = 1234\n")
        config = load([path], {}, host_root=tmp_path, not_needed=self.ALL)
        assert config.vdsm_server.listen_port == 1234
        assert config.origins["engine.vm_uuid"] == NOT_SET

    def test_is_one_only_while_nothing_of_it_is_set(self, tmp_path: Path) -> None:
        path = tmp_path / "ha-agent.conf"
        path.write_text("[host]\nid = 7\n")
        with pytest.raises(ConfigError, match="vm_uuid is missing"):
            load([path], {}, host_root=tmp_path, not_needed=self.ALL)

    def test_what_is_wrong_is_still_said(self, tmp_path: Path) -> None:
        path = tmp_path / "ha-agent.conf"
        path.write_text("[vdsm-server]\nlisten_port = many\n")
        with pytest.raises(ConfigError, match="listen_port"):
            load([path], {}, host_root=tmp_path, not_needed=self.ALL)
