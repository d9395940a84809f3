# SPDX-License-Identifier: Apache-2.0
"""A join and a leave put together, with a real storage worker; tests/e2e has daemons."""

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.config import layers
from ha_agent.errors import EnvironmentFault
from ha_agent.setup.answers import Given
from ha_agent.setup.join.answers import check_join
from ha_agent.setup.join.joining import Asked, AskedJoin, join, leave
from ha_agent.setup.step import SetupRefused
from tests.setup.join_world import HastyClock, JoiningHost, make_cluster
from tests.setup.register_world import mute


def asked(host: JoiningHost, *, dry_run: bool = False) -> Asked:
    return Asked(host.files, host.said.append, host.services, dry_run)


async def test_a_join_from_a_folder(tmp_path: Path) -> None:
    shared = make_cluster(tmp_path / "storage")
    host = JoiningHost(tmp_path, "alpha")
    told = AskedJoin(path=shared.path, host_id=4)
    await join(asked(host, dry_run=True), told)
    assert not (host.root / "state").exists()
    await join(asked(host), told)
    assert host.host_id() == 4
    assert any("[4/7] take a host id ... done" in line for line in host.said)
    # Its broker is asked before anything is undone.
    settings = layers.load([], {}, host_root=host.root)
    with pytest.raises(SetupRefused, match="broker does not answer"):
        await leave(asked(host), settings, last=True)
    assert host.conf.exists()


async def test_a_domain_that_is_not_there(tmp_path: Path) -> None:
    shared = make_cluster(tmp_path / "storage")
    host = JoiningHost(tmp_path, "alpha")
    with pytest.raises(SetupRefused, match="not 0000"):
        await join(asked(host), AskedJoin(path=shared.path, domain_uuid="0000"))


async def test_answers_say_where_vdsm_is(tmp_path: Path) -> None:
    host = JoiningHost(tmp_path, "alpha")
    given = {"storage_connection": "srv:/he", "vdsm_host": "none.invalid", "vdsm_ssl": "false"}
    answers = check_join({name: Given(text, "f") for name, text in given.items()}, [])
    asked_join = Asked(host.files, mute, host.services, clock=HastyClock())
    with pytest.raises(EnvironmentFault, match=r"none\.invalid"):
        await join(asked_join, AskedJoin(answers=answers))
