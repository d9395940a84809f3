# SPDX-License-Identifier: Apache-2.0
"""The steps of a join: what they write, what they refuse, and that a kill anywhere ends well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ha_agent.broker.blocks import codec
from ha_agent.config import layers
from ha_agent.errors import HaAgentError
from ha_agent.setup.join.answers import read_copy
from ha_agent.setup.services import OUR_AGENT, OUR_UNITS, PREDECESSOR_AGENT
from ha_agent.setup.step import SetupFailed, SetupRefused
from tests.setup.join_world import BROKER_TEXT, JoiningHost, Shared, make_cluster
from tests.setup.register_world import HereLane

ALL = ("host-id", "conf", "broker-conf", "units")


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    return make_cluster(tmp_path / "storage")


def snapshot_of(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def name_in(shared: Shared, host_id: int) -> str:
    data = shared.status.read_bytes()[host_id * 4096 :][:4096]
    block = codec.decode(data, slot=host_id)
    return "" if block is None else block.host_name


async def test_two_hosts_join(tmp_path: Path, shared: Shared) -> None:
    hosts = [JoiningHost(tmp_path, name) for name in ("alpha", "beta")]
    for number, host in enumerate(hosts, 1):
        assert await host.join(shared.path) == ALL
        assert host.host_id() == number
        assert name_in(shared, number) == host.name
        assert host.broker_conf.read_text() == BROKER_TEXT
        assert host.services.running == host.services.enabled == set(OUR_UNITS)
    text = hosts[1].conf.read_text()
    assert text == shared.conf_text.replace("host_id=1", "host_id=2")
    # What the daemons make of it.
    loaded = layers.load([], {}, host_root=hosts[1].root)
    assert (loaded.host.id, loaded.host.name) == (2, "beta")
    assert loaded.storage.status_path == shared.status
    assert loaded.lease.path == shared.lease


async def test_the_domain_is_found_in_the_folder_it_is_in(tmp_path: Path, shared: Shared) -> None:
    assert await JoiningHost(tmp_path, "alpha").join(shared.path.parent) == ALL


async def test_a_second_run_changes_nothing(tmp_path: Path, shared: Shared) -> None:
    host = JoiningHost(tmp_path, "alpha")
    await host.join(shared.path)
    before = snapshot_of(shared.path), host.conf.read_bytes()
    assert await host.join(shared.path) == ()
    assert (snapshot_of(shared.path), host.conf.read_bytes()) == before


async def test_a_dry_run_changes_nothing(tmp_path: Path, shared: Shared) -> None:
    host = JoiningHost(tmp_path, "alpha")
    before = snapshot_of(tmp_path)
    assert await host.join(shared.path, dry_run=True) == ALL
    assert snapshot_of(tmp_path) == before
    assert any("host id 1, free" in line for line in host.said)


# --- killed ------------------------------------------------------------------------------------


class Killed(BaseException):
    """SIGKILL, as far as Python code can see it."""


class KilledLane(HereLane):
    """Dies before or after a storage operation; the calls go on as if nothing were until then."""

    def __init__(self, at: int, after: bool) -> None:
        self.left = at
        self.after = after

    async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Killed
        answer = await super().call(operation, deadline_seconds, **args)
        if self.left == 0:
            raise Killed
        return answer


@pytest.mark.parametrize("after", [False, True])
async def test_killed_at_each_storage_operation(
    tmp_path: Path, shared: Shared, after: bool
) -> None:
    for at in range(1, 100):
        host = JoiningHost(tmp_path, f"host{at}")
        try:
            await host.join(shared.path, lane=KilledLane(at, after))
        except Killed:
            await host.join(shared.path)
            assert host.host_id() == at
            assert name_in(shared, at) == host.name
        else:
            assert at > 5
            break
    names = [name_in(shared, host_id) for host_id in range(1, 60)]
    found = [name for name in names if name]
    assert len(found) == len(set(found)) == at


@pytest.mark.parametrize("name", ["storage", "configuration", *ALL])
@pytest.mark.parametrize("when", ["look", "do"])
async def test_killed_in_each_step(tmp_path: Path, shared: Shared, name: str, when: str) -> None:
    class Dying:
        def __init__(self, step: Any) -> None:
            self.step, self.name, self.title = step, step.name, step.title

        async def look(self) -> Any:
            found = await self.step.look()
            if when == "look" and self.name == name:
                raise Killed
            return found

        async def do(self, say: Any) -> str:
            text = await self.step.do(say)
            if when == "do" and self.name == name:
                raise Killed
            return str(text)

    from ha_agent.clock import SystemClock
    from ha_agent.setup.journal import open_journal
    from ha_agent.setup.runner import run_steps

    host = JoiningHost(tmp_path, "alpha")
    with open_journal(host.root / "state", "join", str(shared.path)) as journal:
        steps = [Dying(step) for step in host.steps(journal, shared.path, HereLane())]
        killed = False
        try:
            await run_steps(
                steps, journal=journal, say=host.said.append, dry_run=False, clock=SystemClock()
            )
        except Killed:
            killed = True
    assert killed or (when, name) in (("do", "storage"), ("do", "configuration"))
    await host.join(shared.path)
    other = JoiningHost(tmp_path, "beta")
    await other.join(shared.path)
    assert (host.host_id(), other.host_id()) == (1, 2)
    assert not [p for p in host.conf.parent.iterdir() if p.name != host.conf.name]


# --- what is there -----------------------------------------------------------------------------


async def test_other_content_is_kept(tmp_path: Path, shared: Shared) -> None:
    host = JoiningHost(tmp_path, "alpha")
    host.conf.parent.mkdir(parents=True)
    old = f"# mine\nvmid={shared.vm_uuid}\nsdUUID={shared.uuid}\nhost_id=7\n"
    host.conf.write_text(old)
    host.broker_conf.parent.mkdir(parents=True)
    host.broker_conf.write_text("[email]\n")
    await host.join(shared.path)
    assert host.conf.with_name("hosted-engine.conf.before-join-1").read_text() == old
    assert host.broker_conf.with_name("broker.conf.before-join-1").read_text() == "[email]\n"
    assert host.host_id() == 1


@pytest.mark.parametrize("key", ["vmid", "sdUUID"])
async def test_a_host_of_another_cluster(tmp_path: Path, shared: Shared, key: str) -> None:
    host = JoiningHost(tmp_path, "alpha")
    host.conf.parent.mkdir(parents=True)
    values = {"vmid": shared.vm_uuid, "sdUUID": shared.uuid}
    values[key] = "00000000-0000-4000-8000-00000000000f"
    host.conf.write_text("".join(f"{k}={v}\n" for k, v in values.items()))
    before = snapshot_of(shared.path)
    with pytest.raises(SetupRefused, match="another cluster"):
        await host.join(shared.path)
    copy = tmp_path / "copy"
    copy.write_text(host.conf.read_text())
    host.conf.unlink()
    with pytest.raises(SetupRefused, match="another cluster"):
        await host.join(shared.path, given=read_copy(copy))
    assert snapshot_of(shared.path) == before


async def test_an_agent_that_runs_already(tmp_path: Path, shared: Shared) -> None:
    host = JoiningHost(tmp_path, "alpha")
    host.services.running = {PREDECESSOR_AGENT}
    with pytest.raises(SetupRefused, match="ha-agent upgrade"):
        await host.join(shared.path)
    host.services.running = {OUR_AGENT}
    with pytest.raises(SetupRefused, match="stop it first"):
        await host.join(shared.path)


async def test_two_hosts_of_one_name(tmp_path: Path, shared: Shared) -> None:
    await JoiningHost(tmp_path, "alpha").join(shared.path)
    twin = JoiningHost(tmp_path / "elsewhere", "alpha")
    (twin.root / "etc" / "machine-id").write_text("another\n")
    with pytest.raises(SetupRefused, match="another machine"):
        await twin.join(shared.path)
    assert not twin.conf.exists()


async def test_a_wanted_id(tmp_path: Path, shared: Shared) -> None:
    host = JoiningHost(tmp_path, "alpha")
    await host.join(shared.path, wanted=7)
    assert host.host_id() == 7
    await host.join(shared.path, wanted=7)
    with pytest.raises(SetupRefused, match="host id 7 is alpha's"):
        await JoiningHost(tmp_path, "beta").join(shared.path, wanted=7)
    with pytest.raises(SetupRefused, match="registered with host id 7, not 8"):
        await host.join(shared.path, wanted=8)


async def test_a_cluster_with_newer_software(tmp_path: Path, shared: Shared) -> None:
    with shared.status.open("r+b") as file:
        file.seek(5 * 4096)
        file.write(b"2|1|1|5|...")
    with pytest.raises(SetupRefused, match="newer software"):
        await JoiningHost(tmp_path, "alpha").join(shared.path)
    shared.put(hosted_engine_conf=f"{shared.conf_text}ha_agent_lease_tachyons=1\n")
    with pytest.raises(SetupRefused, match="tachyons"):
        await JoiningHost(tmp_path, "alpha").join(shared.path)


# --- the storage -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "hosted-engine.conf"),
        ("nonsense\n", "line 1"),
        ("vmid=1\n", "sdUUID"),
    ],
)
async def test_a_configuration_that_is_not_whole(
    tmp_path: Path, shared: Shared, text: Any, told: str
) -> None:
    if text is None:
        with shared.conf_volume.open("r+b") as file:
            file.write(bytes(20480))
        told = "no configuration has been written"
    else:
        shared.put(hosted_engine_conf=text)
    with pytest.raises(HaAgentError, match=told):
        await JoiningHost(tmp_path, "alpha").join(shared.path)
    assert not any(shared.status.read_bytes())


async def test_a_configuration_of_another_domain(tmp_path: Path, shared: Shared) -> None:
    other = shared.conf_text.replace(shared.uuid, "00000000-0000-4000-8000-00000000000f")
    shared.put(hosted_engine_conf=other)
    with pytest.raises(SetupRefused, match="is about storage domain"):
        await JoiningHost(tmp_path, "alpha").join(shared.path)


async def test_a_damaged_configuration_volume(tmp_path: Path, shared: Shared) -> None:
    with shared.conf_volume.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 40)
    with pytest.raises(SetupFailed, match="configuration"):
        await JoiningHost(tmp_path, "alpha").join(shared.path)


async def test_a_domain_that_is_mounted_elsewhere(tmp_path: Path, shared: Shared) -> None:
    wrong = shared.conf_text.replace(str(shared.path), f"/elsewhere/{shared.uuid}")
    shared.put(hosted_engine_conf=wrong)
    host = JoiningHost(tmp_path, "alpha")
    with pytest.raises(SetupRefused, match=r"\[storage\] domain_path"):
        await host.join(shared.path)
    with (host.root / "etc" / "ha-agent" / "ha-agent.conf").open("a") as file:
        file.write(f"[storage]\ndomain_path = {shared.path}\n")
    assert await host.join(shared.path) == ALL


async def test_no_domain_there(tmp_path: Path, shared: Shared) -> None:
    host = JoiningHost(tmp_path, "alpha")
    with pytest.raises(HaAgentError, match="no storage domain is there"):
        await host.join(tmp_path / "alpha")
    with pytest.raises(SetupRefused, match=shared.uuid):
        await JoiningHost(tmp_path, "beta").join(
            shared.path, domain_uuid="00000000-0000-4000-8000-00000000000f"
        )


async def test_two_clusters_in_one_folder(tmp_path: Path, shared: Shared) -> None:
    other = make_cluster(shared.path.parent)
    with pytest.raises(SetupRefused, match="several have"):
        await JoiningHost(tmp_path, "alpha").join(shared.path.parent)
    host = JoiningHost(tmp_path, "beta")
    await host.join(shared.path.parent, domain_uuid=other.uuid)
    assert other.vm_uuid in host.conf.read_text()
