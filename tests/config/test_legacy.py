# SPDX-License-Identifier: Apache-2.0
"""The layers below ha-agent.conf: who counts, what is a fault, and what is only noted."""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.compat import hosted_engine_conf
from ha_agent.compat.conf_writer import set_keys
from ha_agent.compat.legacy_keys import KEYS
from ha_agent.config.layers import Config, ConfigError, complete, load, predecessor_text
from ha_agent.config.legacy import read, read_text
from ha_agent.errors import BadInput
from tests.compat.test_hosted_engine_conf import NFS
from tests.config.test_layers import MINIMAL, write

HE = "etc/ovirt-hosted-engine/hosted-engine.conf"
AGENT = "etc/ovirt-hosted-engine-ha/agent.conf"
BROKER = "var/lib/ovirt-hosted-engine-ha/broker.conf"
HA = "var/lib/ovirt-hosted-engine-ha/ha.conf"
OURS = "etc/ha-agent/ha-agent.conf"


def loaded(root: Path, **environ: str) -> Config:
    return load([], {"HA_AGENT_HOST_ROOT": str(root), **environ})


def faults_of(root: Path) -> Sequence[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(root)
    return [str(fault).replace(f"{root}/", "") for fault in caught.value.faults]


def test_a_host_with_only_the_predecessors_file(tmp_path: Path) -> None:
    path = write(tmp_path / HE, NFS)
    config = loaded(tmp_path)
    sd = "22222222-2222-4222-8222-222222222222"
    assert config.host.id == 1
    assert config.engine.vm_uuid == "11111111-1111-4111-8111-111111111113"
    assert config.engine.health_url == "http://engine.example.org/ovirt-engine/services/health"
    assert config.storage.domain_uuid == sd
    mount = f"/rhev/data-center/mnt/server.example.org:_export_engine/{sd}"
    assert config.storage.domain_path == Path(mount)
    assert config.storage.status_path == Path(
        f"{mount}/images/33333333-3333-4333-8333-333333333332/33333333-3333-4333-8333-333333333331"
    )
    assert config.lease.path == Path(f"{mount}/ha_agent/{config.engine.vm_uuid}.lease")
    assert (config.network.test, config.network.address) == ("ping", "192.168.1.1")
    assert config.origins["host.id"] == f"{path}:9"
    assert config.origins["lease.lease_expiry_seconds"] == "default"
    assert config.storage.hosted_engine_conf == path
    assert (config.paths, config.notes) == ((), ())


def test_every_layer_counts_more_than_the_one_below(tmp_path: Path) -> None:
    write(tmp_path / HE, NFS + "ha_agent_score_base=2000\nha_agent_score_memory=1\n")
    write(tmp_path / AGENT, "[score]\nbase-score=1000\nfree-memory-score-penalty=2\n")
    write(tmp_path / OURS, "[score]\nmemory = 3\n[host]\nid = 9\n")
    write(tmp_path / f"{OURS}.d/x.conf", "[host]\nid = 8\n")
    config = loaded(tmp_path)
    assert (config.score.base, config.score.memory, config.score.cpu_load) == (2000, 3, 1000)
    assert config.host.id == 8
    assert config.origins["score.base"] == f"{tmp_path}/{HE}:31"
    assert config.origins["host.id"] == f"{tmp_path}/{OURS}.d/x.conf:2"


def test_mail_of_broker_conf(tmp_path: Path) -> None:
    write(tmp_path / HE, NFS)
    text = "[email]\nsmtp-server=mx\nsmtp-port=26\nsmtp-timeout=3\nsource-email=he@x.org\n"
    write(
        tmp_path / BROKER,
        f"{text}destination-emails=a@x.org, b@x.org\n[notify]\nstate_transition=.\n",
    )
    # The older place counts only where the other is not.
    write(tmp_path / "etc/ovirt-hosted-engine-ha/broker.conf", "[email]\nsmtp-server=other\n")
    notify = loaded(tmp_path).notify
    assert notify.mail_to == ("a@x.org", "b@x.org")
    assert (notify.smtp_host, notify.smtp_port, notify.mail_from) == ("mx", 26, "he@x.org")
    (tmp_path / BROKER).unlink()
    assert loaded(tmp_path).notify.smtp_host == "other"


def test_the_files_are_watched(tmp_path: Path) -> None:
    names = [HE, AGENT, BROKER]
    for name, text in zip(names, (NFS, "[score]\nbase-score=1\n", "[email]\nsmtp-port=1\n")):
        write(tmp_path / name, text)
    config = loaded(tmp_path)
    assert config.predecessor_ha_conf is None
    write(tmp_path / HA, "local_maintenance=True\n")
    config = loaded(tmp_path)
    assert config.predecessor_ha_conf == tmp_path / HA
    # Ours too, though it is not there: it may come. Their ha.conf is read once.
    assert config.files == tuple(tmp_path / name for name in [*names, OURS])
    assert config.folders == (tmp_path / f"{OURS}.d",)


def test_without_both_files_the_error_says_what_to_do(tmp_path: Path) -> None:
    assert faults_of(tmp_path) == [
        f"neither {OURS} nor {HE} is there: `ha-agent deploy` sets up the first host, "
        "`ha-agent join` one more"
    ]
    write(tmp_path / OURS, "# as the packages ship it\n")
    assert faults_of(tmp_path)[-1] == (
        "this host is not set up: `ha-agent deploy` sets up the first host, "
        "`ha-agent join` one more"
    )


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    write(tmp_path / HE, NFS)
    for paths, environ in (([tmp_path / "x"], {}), ([], {"HA_AGENT_CONFIG": f"{tmp_path}/x"})):
        with pytest.raises(ConfigError, match="x: can't be read: No such file"):
            load(paths, environ, host_root=tmp_path)


def test_ours_says_where_the_predecessors_file_is_or_that_there_is_none(tmp_path: Path) -> None:
    write(tmp_path / HE, NFS.replace("host_id=1", "host_id=2"))
    other = write(tmp_path / "other.conf", NFS.replace("host_id=1", "host_id=3"))
    ours = write(tmp_path / OURS, f"[storage]\nhosted_engine_conf = {other}\n")
    assert loaded(tmp_path).host.id == 3
    write(ours, "[storage]\nhosted_engine_conf =\n")
    assert "[host] id is missing: expected a whole number, 1 to 2000" in faults_of(tmp_path)
    write(ours, "[storage]\nhosted_engine_conf = he.conf\n")
    [fault] = faults_of(tmp_path)[:1]
    assert (
        fault == f"{OURS}:2: hosted_engine_conf = he.conf: expected an absolute path, or nothing"
    )


def test_a_value_of_several_lines_is_told_in_one(tmp_path: Path) -> None:
    write(tmp_path / HE, NFS)
    write(tmp_path / AGENT, "[score]\nbase-score=2\n  3\n")
    told = f"{AGENT}:2: score.base-score = 2 3: expected a whole number, 0 to 100000"
    assert faults_of(tmp_path) == [told]


def test_left_over_files_of_a_package_count_for_nothing(tmp_path: Path) -> None:
    write(tmp_path / OURS, MINIMAL)
    write(tmp_path / AGENT, "[score]\nbase-score=1000\n")
    write(tmp_path / BROKER, "this is damaged")
    config = loaded(tmp_path)
    assert (config.score.base, config.predecessor) == (3400, ())


@pytest.mark.parametrize(
    ("file", "old", "new", "faults"),
    [
        (
            HE,
            "host_id=1",
            "host_id=x",
            [f"{HE}:9: host_id = x: expected a whole number, 1 to 2000"],
        ),
        (
            HE,
            "host_id=1",
            "host_id=None",
            ["[host] id is missing: expected a whole number, 1 to 2000"],
        ),
        (HE, "console=vnc", "console", [f"{HE}:10: is not KEY=VALUE"]),
        (HE, "console=vnc", "fqdn=x", [f"{HE}:10: fqdn: is there already, in line 1"]),
        (HE, "console=vnc", "ha_agent_x=1", [f"{HE}:10: unknown key 'ha_agent_x'"]),
        (
            HE,
            "console=vnc",
            "configured=False",
            [
                f"{HE}:10: configured = False: this host was taken out of the hosted engine's; "
                "`ha-agent join` brings it back"
            ],
        ),
        (
            HE,
            "console=vnc",
            "configured=no",
            [f"{HE}:10: configured = no: expected True or False"],
        ),
        (
            HE,
            "domainType=nfs",
            "domainType=tape",
            [f"{HE}:11: domainType: 'tape' is none of nfs, nfs3, nfs4, glusterfs, iscsi, fc"],
        ),
        (
            HE,
            "nfs_version=auto",
            "nfs_version=v3",
            [
                f"{HE}:11: an NFSv3 server never frees the locks of a host that died, so the "
                "engine VM could not be started anywhere else; mount the domain with NFS 4"
                " (backend = lockfile, domain_type = nfs3)"
            ],
        ),
        (
            AGENT,
            "2",
            "x",
            [f"{AGENT}:2: score.base-score = x: expected a whole number, 0 to 100000"],
        ),
        (HA, "False", "maybe", [f"{HA}:1: local_maintenance=maybe: expected True or False"]),
        (AGENT, "=2", "", [f"{AGENT}:2: 'base-score' is neither [section] nor key = value"]),
    ],
)
def test_a_fault_has_file_and_line(
    tmp_path: Path, file: str, old: str, new: str, faults: list[str]
) -> None:
    texts = {HE: NFS, AGENT: "[score]\nbase-score=2\n", HA: "local_maintenance=False\n"}
    for name, text in texts.items():
        write(tmp_path / name, text.replace(old, new) if name == file else text)
    assert faults_of(tmp_path) == faults


def test_what_is_overridden_has_no_fault(tmp_path: Path) -> None:
    write(tmp_path / HE, NFS.replace("domainType=nfs", "domainType=tape"))
    write(tmp_path / OURS, MINIMAL)
    with pytest.raises(ConfigError, match="domainType"):
        loaded(tmp_path)
    write(tmp_path / OURS, f"{MINIMAL}domain_type = nfs\n")
    assert loaded(tmp_path).storage.domain_type == "nfs"


def test_a_damaged_file_is_a_fault_even_if_ours_says_all(tmp_path: Path) -> None:
    write(tmp_path / OURS, MINIMAL)
    (tmp_path / HE).parent.mkdir(parents=True)
    (tmp_path / HE).write_bytes(b"fqdn=a\nbridge=\xff\n")
    assert faults_of(tmp_path) == [f"{HE}:2: is not UTF-8 text"]
    (tmp_path / HE).write_bytes(b"#" * (1 << 16) + b"\n")
    assert faults_of(tmp_path) == [f"{HE}: is longer than 65536 bytes"]
    (tmp_path / HE).unlink()
    (tmp_path / HE).mkdir()
    assert faults_of(tmp_path) == [f"{HE}: can't be read: Is a directory"]


def test_a_file_without_any_key_is_a_fault_even_if_ours_says_all(tmp_path: Path) -> None:
    """As a power cut leaves a file; with the layer left out the lease could have other times."""
    write(tmp_path / OURS, MINIMAL)
    for text in ("", "# a comment\n", "\n"):
        write(tmp_path / HE, text)
        assert faults_of(tmp_path) == [f"{HE}: has no key: was it cut off when written?"]


@pytest.mark.parametrize("options", ["nolock", "soft,vers=3", "local_lock=all"])
def test_a_mount_with_local_locks_is_refused_with_lock_files(tmp_path: Path, options: str) -> None:
    """The domain may be mounted already, by the engine's order, before we would connect it."""
    text = NFS.replace("mnt_options=", f"mnt_options={options}")
    write(tmp_path / HE, text)
    [fault] = faults_of(tmp_path)
    assert "two hosts could own the engine VM at once" in fault
    write(tmp_path / HE, text + "ha_agent_lease_backend=sanlock\n")
    assert loaded(tmp_path).storage.mount_options == options


def test_the_last_file_says_whether_there_is_one_of_the_predecessor(tmp_path: Path) -> None:
    write(tmp_path / HE, NFS)
    write(tmp_path / OURS, "[storage]\nhosted_engine_conf =\n")
    write(tmp_path / f"{OURS}.d/x.conf", f"[storage]\nhosted_engine_conf = {tmp_path / HE}\n")
    assert loaded(tmp_path).host.id == 1


def test_a_daemon_leaves_no_layer_out(tmp_path: Path) -> None:
    write(tmp_path / HE, NFS)
    config = loaded(tmp_path)
    assert complete(config) is config
    told = "/he.conf can't be read: Permission denied"
    with pytest.raises(ConfigError, match=told):
        complete(dataclasses.replace(config, unread=(told,)))


def test_odd_but_real_content(tmp_path: Path) -> None:
    text = NFS.replace("console=vnc", "a.b=1\nonce_more = x").replace("a.b=1\nonce_more = x", "z=")
    write(tmp_path / HE, text.replace("bridge=ovirtmgmt", "bridge=None").replace("\n", "\r\n"))
    config = loaded(tmp_path)
    assert (config.network.bridge, config.origins["network.bridge"]) == ("ovirtmgmt", "default")
    assert config.storage.mount_options == ""


def test_an_unknown_key_is_noted(tmp_path: Path) -> None:
    write(tmp_path / HE, NFS + "gatway=1\nmine=1\n")
    assert [note.replace(f"{tmp_path}/", "") for note in loaded(tmp_path).notes] == [
        f"{HE}:31: gatway: not known, and not used; did you mean gateway?",
        f"{HE}:32: mine: not known, and not used",
    ]


class Unreadable:
    """A path that this user may not read: for root there is none."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    def __str__(self) -> str:
        return str(self.path)


def test_a_file_that_this_user_may_not_read_is_noted() -> None:
    found = read(Unreadable(Path("/he.conf")), Path("/nowhere"), ())  # type: ignore[arg-type]
    assert found.unreadable == ("/he.conf can't be read: Permission denied",)
    assert (found.faults, found.there, found.damaged) == ((), True, False)


def test_each_key_of_the_files_is_shown(tmp_path: Path) -> None:
    write(tmp_path / HE, "fqdn=e\nhost_id=1\nconsole=vnc\nmine=1\nsdUUID=\n")
    write(tmp_path / AGENT, "[score]\nbase-score=2\n")
    write(tmp_path / HA, "local_maintenance=False\n")
    write(tmp_path / OURS, MINIMAL)
    assert predecessor_text(loaded(tmp_path)).replace(f"{tmp_path}/", "") == (
        f"{HE}\n"
        f"    1  fqdn     [engine] health_url (but {OURS}:7 counts); the health page's URL\n"
        f"    2  host_id  [host] id (but {OURS}:3 counts)\n"
        "    3  console  not used: the OVF says which console the VM has\n"
        "    4  mine     not known, and not used\n"
        "    5  sdUUID   no value\n"
        "\n"
        f"{AGENT}\n"
        "    2  score.base-score  [score] base\n"
        "\n"
        f"{HA}\n"
        "    1  local_maintenance  "
        "into <host.state_dir>/ha.conf, once, where that is not there; then that counts\n"
    )
    assert predecessor_text(load([tmp_path / OURS], {}, host_root=tmp_path / "none")) == (
        "the predecessor's files are not there\n"
    )


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_text(tmp_path / "none") is None
    assert read_text(write(tmp_path / "file", "") / "below") is None
    with pytest.raises(BadInput, match="Is a directory"):
        read_text(tmp_path)


_VALUES = st.one_of(
    st.sampled_from(["", "None", "nfs", "iscsi", "fc", "True", "1", "v3", "tcp", "s:/a", "a,b"]),
    st.uuids().map(str),
    st.text(string.ascii_letters + string.digits + "./:_-", max_size=12),
)
_NAMES = st.sampled_from(
    [row.name for row in KEYS if "." not in row.name]
    + ["ha_agent_log_level", "ha_agent_lease_backend", "ha_agent_x", "mine"]
)


@given(st.dictionaries(_NAMES, _VALUES))
def test_any_pairs_give_a_configuration_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, str]
) -> None:
    root = tmp_path_factory.mktemp("host")
    path = write(root / HE, set_keys(NFS, dict(changes), where="he.conf"))
    try:
        made = loaded(root)
    except ConfigError as error:
        texts = [str(fault) for fault in error.faults]
    else:
        lines = hosted_engine_conf.parse(path.read_text(), str(path)).lines
        assert len(made.predecessor) == len(lines)
        texts = list(made.notes)
    assert not any("\n" in text for text in texts)


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes_crash_nothing(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    root = tmp_path_factory.mktemp("host")
    (root / HE).parent.mkdir(parents=True)
    (root / HE).write_bytes(data)
    with pytest.raises(ConfigError):
        loaded(root)
