# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import cast

import pytest

from ha_agent.broker.sanlock.lockspace_codec import LOCKSPACE_BYTES, first_sound
from ha_agent.broker.storage.lane import StorageLane
from ha_agent.clock import SystemClock
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import WallTime
from ha_agent.ovfstore import conf_volume
from ha_agent.setup.deploy.deployment import (
    CONFIGURATION,
    DESCRIPTIONS,
    LOCKSPACE,
    MAKING,
    MIB,
    SIZES,
    STATUS,
    Deployment,
)
from ha_agent.setup.deploy.pool import Pool
from ha_agent.setup.deploy.volumes import PREDECESSOR_LOCKSPACE, MakeVolume, write_zeros
from ha_agent.setup.step import SetupFailed, SetupRefused
from ha_agent.vdsm.client.answers import TaskStatus
from ha_agent.vdsm.client.verbs import NO_POOL
from ha_agent.vdsm.errors import VdsmCode
from tests.sanlock_daemon import SanlockDaemon, needs_sanlock
from tests.setup.deploy_fakes import FakeVdsm, make_deployment, make_journal, say


class NoPool:
    async def enter(self, _say: object) -> str:
        return NO_POOL


def step_of(deployment: Deployment, role: str = STATUS) -> MakeVolume:
    return MakeVolume(deployment, cast("Pool", NoPool()), role)


async def test_a_volume_is_made_zeroed_and_called_finished(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    vdsm.add_domain()
    with make_journal(tmp_path) as journal:
        deployment = make_deployment(tmp_path, journal, vdsm)
        step = step_of(deployment)
        assert not (await step.look()).done
        await step.do(say)
        assert (await step.look()).done
        info = await deployment.info(STATUS)
        assert info is not None
        assert (info.description, info.disk_type) == (DESCRIPTIONS[STATUS], STATUS)
        assert info.capacity_bytes == SIZES[STATUS]


async def test_old_data_in_a_half_made_volume_is_zeroed(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    vdsm.add_domain()
    with make_journal(tmp_path) as journal:
        deployment = make_deployment(tmp_path, journal, vdsm)
        image, volume = deployment.image(STATUS), deployment.volume(STATUS)
        path = vdsm.add_volume(STATUS, image, volume, f"x{MAKING}", SIZES[STATUS])
        with path.open("r+b") as file:
            file.seek(5 * MIB)
            file.write(b"old")
        step = step_of(deployment)
        assert "half made" in (await step.look()).text
        await step.do(say)
        with path.open("rb") as file:
            assert not any(file.read(8 * MIB))


async def test_somebody_elses_volume_is_refused_and_not_touched(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    vdsm.add_domain()
    with make_journal(tmp_path) as journal:
        deployment = make_deployment(tmp_path, journal, vdsm)
        path = vdsm.add_volume(CONFIGURATION, "i", "theirs", "x", MIB)
        files = dict.fromkeys(conf_volume.FILE_NAMES, b"")
        files["hosted-engine.conf"] = b"vmid=another\n"
        archive = conf_volume.encode_conf_volume(files, WallTime(1))
        path.write_bytes(archive.ljust(MIB, b"\0"))
        before = path.read_bytes()
        with pytest.raises(SetupRefused, match=r"volume theirs .*\(engine VM another\)"):
            await step_of(deployment, CONFIGURATION).look()
        assert path.read_bytes() == before
        # One of the predecessor's, from before VDSM had disk types, too.
        vdsm.found.clear()
        vdsm.add_volume("DATA", "i", "old", DESCRIPTIONS[STATUS], MIB)
        with pytest.raises(SetupRefused, match="the status volume old"):
            await step_of(deployment).look()


async def test_another_hosts_half_made_volume_is_not_called_a_cluster(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    vdsm.add_domain()
    with make_journal(tmp_path) as journal:
        deployment = make_deployment(tmp_path, journal, vdsm)
        vdsm.add_volume(STATUS, "i", "theirs", DESCRIPTIONS[STATUS] + MAKING, SIZES[STATUS])
        with pytest.raises(SetupRefused, match=r"half-made status volume theirs .*: finish that"):
            await step_of(deployment).look()


async def test_without_a_sanlock_daemon_the_lockspace_stays_empty_and_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANLOCK_RUN_DIR", str(tmp_path / "no daemon"))
    vdsm = FakeVdsm(tmp_path)
    vdsm.add_domain()
    lane = StorageLane("test", str(tmp_path), clock=SystemClock())
    with make_journal(tmp_path) as journal:
        deployment = dataclasses.replace(make_deployment(tmp_path, journal, vdsm), lane=lane)
        step = step_of(deployment, LOCKSPACE)
        told = await step.do(say)
        await lane.close()
        assert ", empty: " in told
        assert f"sanlock direct init -s 'hosted-engine:0:{tmp_path}/" in told
        assert (await step.look()).done
        assert not any((tmp_path / deployment.volume(LOCKSPACE)).open("rb").read(MIB))


@pytest.mark.sanlock
@needs_sanlock
async def test_hosts_of_the_predecessor_find_their_lockspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vdsm = FakeVdsm(tmp_path)
    vdsm.add_domain()
    with SanlockDaemon(tmp_path / "sanlock", "alpha") as daemon:
        for name, value in daemon.variables.items():
            monkeypatch.setenv(name, value)
        lane = StorageLane("test", str(tmp_path), clock=SystemClock())
        with make_journal(tmp_path) as journal:
            deployment = dataclasses.replace(make_deployment(tmp_path, journal, vdsm), lane=lane)
            told = await step_of(deployment, LOCKSPACE).do(say)
            volume = deployment.volume(LOCKSPACE)
        await lane.close()
    assert told == f"volume {volume}, with lockspace hosted-engine"
    with (tmp_path / volume).open("rb") as file:
        first = first_sound(file.read(LOCKSPACE_BYTES))
    assert first is not None
    assert first.lockspace == PREDECESSOR_LOCKSPACE


async def test_a_volume_that_is_too_small_is_refused(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    vdsm.add_domain()
    with make_journal(tmp_path) as journal:
        deployment = make_deployment(tmp_path, journal, vdsm)
        ids = deployment.image(STATUS), deployment.volume(STATUS)
        vdsm.add_volume(STATUS, *ids, DESCRIPTIONS[STATUS], MIB)
        with pytest.raises(SetupRefused, match=f"{MIB} bytes, not {SIZES[STATUS]}"):
            await step_of(deployment).look()


async def test_a_task_that_fails_says_why(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    vdsm.add_domain()
    vdsm.task = TaskStatus("finished", "cleanSuccess", 550, "No space left on device")
    with make_journal(tmp_path) as journal:
        step = step_of(make_deployment(tmp_path, journal, vdsm))
        with pytest.raises(SetupFailed, match=r"No space left on device \(code 550\)"):
            await step.do(say)


async def test_a_part_that_vdsm_never_finishes_is_left_for_another(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    vdsm.add_domain()
    vdsm.exists_code = VdsmCode.VOLUME_ALREADY_EXISTS
    with make_journal(tmp_path) as journal:
        deployment = make_deployment(tmp_path, journal, vdsm)
        old = deployment.volume(STATUS)
        with pytest.raises(SetupFailed, match=f"a part of volume {old}"):
            await step_of(deployment).do(say)
        vdsm.exists_code = None
        await step_of(deployment).do(say)
        assert deployment.volume(STATUS) != old


def test_zeros_are_written_where_there_are_none(tmp_path: Path) -> None:
    path = tmp_path / "volume"
    path.write_bytes(b"\1" * (3 * MIB))
    write_zeros(str(path), 2 * MIB)
    data = path.read_bytes()
    assert not any(data[: 2 * MIB])
    assert data[2 * MIB :] == b"\1" * MIB
    with pytest.raises((OSError, EnvironmentFault)):
        write_zeros(str(tmp_path / "absent"), MIB)
