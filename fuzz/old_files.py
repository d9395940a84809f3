# SPDX-License-Identifier: Apache-2.0
"""The targets that are the predecessor's files: read, put into our words, changed, read again."""

from __future__ import annotations

from fuzz.promise import DOMAIN, VM, WHERE, Finding, refused
from ha_agent.compat import hosted_engine_conf, ini_conf, legacy_keys
from ha_agent.compat.conf_writer import set_ini_keys, set_keys
from ha_agent.compat.legacy_keys import AGENT, BROKER, HOSTED_ENGINE
from ha_agent.errors import BadInput

CONF_WORDS = (
    b"domainType=nfs", b"domainType=iscsi", b"nfs_version=v4_1", b"storage=s:/a_b", b"None", b"=",
    b"sdUUID=" + DOMAIN.encode(), b"vmid=" + VM.encode(), b"gateway=", b"network_test=tcp",
    b"ha_agent_log_level=debug", b"ha_agent_x=", b"\r\n", b"#",
    b"\xc2\xa0", b"\x0b", b"\xe2\x80\xa8",
)  # fmt: skip
INI_WORDS = (
    b"[score]", b"[email]", b"[notify]", b"[DEFAULT]", b"base-score=", b"cpu-load-penalty-min=.1",
    b"destination-emails=", b"state_transition=", b"%%", b"%(x)s", b"\n  ", b": ", b";", b"\r\n",
)  # fmt: skip


def fuzz_hosted_engine_conf(data: bytes) -> None:
    """A hosted-engine.conf: refused, or each key told, and what is not changed stays."""
    text = data.decode("utf-8", "replace")
    try:
        conf = hosted_engine_conf.parse(text, WHERE)
    except BadInput as error:
        refused(error)
        return
    said = [*legacy_keys.translated(HOSTED_ENGINE, conf)]
    said += legacy_keys.own_settings(conf, ("log.level",))
    if len([*legacy_keys.uses(HOSTED_ENGINE, conf, said)]) != len(conf.lines):
        raise Finding("a key is not told")
    again = hosted_engine_conf.parse(set_keys(text, {"host_id": "7"}, where=WHERE), WHERE)
    if again.values != {**conf.values, "host_id": "7"}:
        raise Finding("another key changed with host_id")
    if set_keys(text, {"not_there": None}, where=WHERE) != text:
        raise Finding("no change changed the text")


def fuzz_ini_conf(data: bytes) -> None:
    """A broker.conf or agent.conf: refused, or in our words, and what is not changed stays."""
    text = data.decode("utf-8", "replace")
    try:
        conf = ini_conf.parse(text, WHERE)
    except BadInput as error:
        refused(error)
        return
    for file in (AGENT, BROKER):
        pairs = legacy_keys.pairs_of_ini(conf)
        said = [*legacy_keys.translated(file, pairs)]
        if len([*legacy_keys.uses(file, pairs, said)]) != len(conf.values):
            raise Finding("a key is not told")
    key = ("email", "smtp-port")
    again = ini_conf.parse(set_ini_keys(text, {key: "7%"}, where=WHERE), WHERE)
    expected = {name: value.text for name, value in conf.values.items()}
    if {name: value.text for name, value in again.values.items()} != {**expected, key: "7%"}:
        raise Finding("another key changed with smtp-port")


def conf_seeds() -> list[bytes]:
    """Return hosted-engine.conf files to begin with: of NFS, and of iSCSI."""
    common = f"fqdn=e.example.org\nvmid={VM}\nsdUUID={DOMAIN}\nhost_id=1\nconsole=vnc\n"
    return [
        f"{common}domainType=nfs\nstorage=s:/he\nnfs_version=auto\nmnt_options=\n".encode(),
        f"{common}domainType=iscsi\nstorage=10.0.0.1\nport=3260\npassword=None\n".encode(),
    ]


def ini_seeds() -> list[bytes]:
    """Return an agent.conf and a broker.conf to begin with."""
    names = [row.name.split(".", 1) for row in legacy_keys.KEYS if row.file in (AGENT, BROKER)]
    sections = {section: [key for name, key in names if name == section] for section, _ in names}
    texts = (f"[{name}]\n" + "=1\n".join([*keys, ""]) for name, keys in sections.items())
    return [text.encode() for text in texts]
