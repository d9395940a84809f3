# SPDX-License-Identifier: Apache-2.0
"""The answers of a join: where the storage is, and how this host's VDSM is reached.

They are those of `ha-agent deploy` (answer_table.py), and an answers file of a deploy will do: of
its keys only these are looked at, since all the rest stands in the cluster's configuration.
Instead of answers there may be a copy of another host's hosted-engine.conf, which says the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from ha_agent.compat import hosted_engine_conf
from ha_agent.compat.hosted_engine_conf import HostedEngineConf
from ha_agent.compat.legacy_keys import OWN_PREFIX
from ha_agent.config.storage import StorageConfig, server_of
from ha_agent.errors import BadInput
from ha_agent.setup.answer_table import KEYS, Key
from ha_agent.setup.answers import AnswersError, Given, take_answer
from ha_agent.setup.host_files import read_file
from ha_agent.setup.questions import Terminal
from ha_agent.vdsm.client.storage_server import StorageServer

# A domain that is there can be found, and has its name and its LUNs.
_NOT_ASKED = ("domain_name", "luns")
_OPTIONAL = ("domain_uuid", "vdsm_host", "vdsm_port", "vdsm_ssl")
JOIN_KEYS: tuple[Key, ...] = tuple(
    key
    for key in KEYS
    if (key.section == "storage" or key.section == "vdsm") and key.name not in _NOT_ASKED
)


class JoinAnswers:
    """Checked answers."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def get(self, name: str) -> Any:
        """Return an answer, None where it was not given and has no default for a join."""
        return self._values.get(name)

    def server(self) -> StorageServer:
        """Return the storage server. Raises BadInput."""
        values = self._values
        config = StorageConfig(
            "",
            Path("/"),
            "",
            "",
            domain_type=values["storage_type"],
            connection=values.get("storage_connection") or "",
            nfs_version=values.get("nfs_version") or "4",
            mount_options=values.get("mount_options") or "",
            vfs_type=values.get("vfs_type") or "",
            iscsi_target=values.get("iscsi_target") or "",
            iscsi_tpgt=values.get("iscsi_tpgt"),
            iscsi_user=values.get("iscsi_user") or "",
        )
        server = server_of(config, values.get("iscsi_password") or "")
        if server is None:
            raise BadInput("is missing: where is the storage?", where="storage_connection")
        return server


def check_join(given: Mapping[str, Given], faults: list[str]) -> JoinAnswers:
    """Return the answers with their defaults; those about VDSM have none here. Raises AnswersError
    with `faults` and all that it finds."""
    found = list(faults)
    values: dict[str, Any] = {}
    for key in JOIN_KEYS:
        answer = given.get(key.name)
        if not key.when(values) or (answer is None and key.name in _OPTIONAL):
            continue
        take_answer(key, answer, values, found)
    if found:
        raise AnswersError(found)
    return JoinAnswers(values)


def ask_join(terminal: Terminal) -> dict[str, Given]:
    """Ask a person for what a join has to know. Raises EOFError, KeyboardInterrupt."""
    given: dict[str, Given] = {}
    values: dict[str, Any] = {}
    for key in JOIN_KEYS:
        if not key.asked or key.name in _OPTIONAL or not key.when(values):
            continue
        text = _ask_one(key, terminal)
        given[key.name], values[key.name] = Given(text, "your answer"), key.kind.parse(text)
    return given


def _ask_one(key: Key, terminal: Terminal) -> str:
    default = f" [{key.default}]" if key.default else ""
    while True:
        text = terminal.ask(f"{key.question}{default}: ", secret=key.secret).strip()
        if not text and key.default is not None:
            text = key.default
        try:
            key.kind.parse(text)
        except ValueError:
            terminal.say(f"  {key.help or key.question} ({key.kind.expected})")
            continue
        return text


def read_copy(path: Path) -> HostedEngineConf:
    """Read a copy of a hosted-engine.conf. Raises BadInput, EnvironmentFault."""
    data = read_file(path)
    if data is None:
        raise BadInput("is not there", where=str(path))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput("is not UTF-8 text", where=str(path), offset=error.start) from None
    conf = hosted_engine_conf.parse(text, str(path))
    for key in ("vmid", "sdUUID"):
        conf.uuid(key)
    return conf


def server_of_copy(conf: HostedEngineConf) -> Optional[StorageServer]:
    """Return the storage server that a hosted-engine.conf names. Raises BadInput.

    Of what the predecessor has no words for (localfs, posixfs, cephfs) our own keys tell.
    """
    said = {}
    for key in dataclasses.fields(StorageConfig):
        name = f"{OWN_PREFIX}storage_{key.name}"
        text = conf.values.get(name)
        if text:
            kind = key.metadata["kind"]
            try:
                said[key.name] = kind.parse(text)
            except ValueError:
                raise conf.fault(name, f"{text[:80]!r}: expected {kind.expected}") from None
    if not said.get("connection"):
        return hosted_engine_conf.server_of(conf, StorageConfig.nfs_version)
    nowhere = {"domain_path": Path("/"), "status_image": "", "status_volume": ""}
    return server_of(
        StorageConfig(**{**nowhere, "domain_uuid": conf.uuid("sdUUID"), **said}), password=""
    )
