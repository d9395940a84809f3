# SPDX-License-Identifier: Apache-2.0
"""Steps of a deploy: make the volumes for the status blocks, the lockspace, the configuration.

Timeline of one volume; a re-run goes on where the last one was cut off:

    noted       image and volume UUID, in the journal
    made        by VDSM, preallocated, its description ends in "(ha-agent deploy is making it)"
    zeroed      its first MiB, and of the status volume all slots: a block device has old data
    filled      sanlock's lockspace "hosted-engine", which the predecessor's hosts join; only
                where a sanlock daemon of this host writes it: ours do without
    described   its final description: finished

A volume of such a kind that is not the one that was noted is somebody else's: refused, and never
touched. What is in it tells whose.
"""

from __future__ import annotations

import os

from ha_agent.broker.sanlock.lockspace_codec import LOCKSPACE_BYTES
from ha_agent.broker.storage import directio
from ha_agent.errors import BadInput, DeadlineExceeded, EnvironmentFault
from ha_agent.setup.deploy.deployment import (
    CONFIGURATION,
    DESCRIPTIONS,
    FILE_SECONDS,
    LOCKSPACE,
    MAKING,
    MIB,
    SIZES,
    STATUS,
    Deployment,
)
from ha_agent.setup.deploy.pool import Pool
from ha_agent.setup.step import Found, Say, SetupFailed, SetupRefused
from ha_agent.vdsm.client.answers import VolumeInfo
from ha_agent.vdsm.client.verbs import Allocation
from ha_agent.vdsm.errors import VdsmCallFailed, VdsmCode

TASK_SECONDS = 1800.0
_APPEAR_SECONDS = 30.0
_POLL_SECONDS = 0.2
# 2001 slots of 4 KiB, rounded up: what a reader of the status volume looks at.
ZERO_BYTES = {STATUS: 8 * MIB, LOCKSPACE: MIB, CONFIGURATION: MIB}
_TITLES = {
    STATUS: "create the status volume",
    LOCKSPACE: "create the predecessor's lockspace volume",
    CONFIGURATION: "create the configuration volume",
}
# As ovirt-hosted-engine-setup makes it: every host of the predecessor joins it before all else.
PREDECESSOR_LOCKSPACE = "hosted-engine"
_IO_TIMEOUT_SECONDS = 10
_NAMES = {STATUS: "status", LOCKSPACE: "lockspace", CONFIGURATION: "configuration"}


class MakeVolume:
    """One of the three volumes."""

    def __init__(self, deployment: Deployment, pool: Pool, role: str) -> None:
        self._deployment = deployment
        self._pool = pool
        self._role = role

    @property
    def name(self) -> str:
        """For the journal."""
        return f"{_NAMES[self._role]}-volume"

    @property
    def title(self) -> str:
        """For the operator."""
        return _TITLES[self._role]

    async def look(self) -> Found:
        """Raises SetupRefused for somebody else's volume of this kind."""
        deployment, role = self._deployment, self._role
        if await deployment.domain_info() is None:
            return Found(False, f"{SIZES[role] // MIB} MiB, when the storage domain is there")
        info = await deployment.info(role)
        if info is None:
            await self._refuse_others()
            return Found(False, f"{SIZES[role] // MIB} MiB")
        if info.description.endswith(MAKING):
            return Found(False, f"volume {info.volume_id} is half made")
        _check(info, role)
        return Found(True, f"volume {info.volume_id}")

    async def _refuse_others(self) -> None:
        for info in await self._deployment.all_volumes():
            same = info.disk_type == self._role
            if same or info.description == DESCRIPTIONS[self._role]:
                if info.description.endswith(MAKING):
                    raise SetupRefused(
                        f"storage domain {self._deployment.domain_uuid} has a half-made"
                        f" {_NAMES[self._role]} volume {info.volume_id} of another `ha-agent"
                        " deploy`: finish that one on the host where it was begun, or use another"
                        " domain"
                    )
                whose = await self._whose(info)
                raise SetupRefused(
                    f"storage domain {self._deployment.domain_uuid} has the {_NAMES[self._role]}"
                    f" volume {info.volume_id} of a hosted engine already{whose}: join its cluster"
                    " with `ha-agent join`, or use another domain"
                )

    async def _whose(self, info: VolumeInfo) -> str:
        """Return what a configuration volume says of its cluster, as part of a sentence."""
        if self._role != CONFIGURATION:
            return ""
        deployment = self._deployment
        try:
            path = await deployment.vdsm.prepare_image(
                deployment.domain_uuid, info.image_id, info.volume_id
            )
            answer = await deployment.lane.call("read_conf_volume", 30.0, path=path)
        except (BadInput, EnvironmentFault):
            return ""
        text = bytes(answer["files"].get("hosted-engine.conf", b"")).decode("utf-8", "replace")
        vm = [line[5:].strip() for line in text.splitlines() if line.startswith("vmid=")]
        return f" (engine VM {vm[0]})" if vm else ""

    async def do(self, say: Say) -> str:
        """Make it, zero its beginning, and call it finished."""
        deployment, role = self._deployment, self._role
        await make_volume(deployment, self._pool, role, SIZES[role], Allocation.PREALLOCATED, say)
        path = await deployment.path(role)
        await deployment.blocking(
            f"zeros in {path}", lambda: write_zeros(path, ZERO_BYTES[role]), seconds=300.0
        )
        told = await self._write_lockspace(path) if role == LOCKSPACE else ""
        await describe(deployment, self._pool, role)
        return f"volume {deployment.volume(role)}{told}"

    async def _write_lockspace(self, path: str) -> str:
        """Return "" once it is there, else as the end of a sentence why it is not."""
        try:
            answer = await self._deployment.lane.call(
                "lockspace_rewrite",
                FILE_SECONDS,
                path=path,
                lockspace=PREDECESSOR_LOCKSPACE,
                expected=bytes(LOCKSPACE_BYTES),
                sector_bytes=0,
                io_timeout_seconds=_IO_TIMEOUT_SECONDS,
                resource="",
                resource_offset=0,
            )
            why = "" if answer["done"] else "it was written by somebody else"
        except EnvironmentFault as fault:
            why = str(fault)
        if not why:
            return f", with lockspace {PREDECESSOR_LOCKSPACE}"
        # A colon ends a path for sanlock, and VDSM's mount points have one.
        place = path.replace(":", r"\:")
        return (
            f", empty: {why}. Only hosts of the predecessor need it: before one of them joins, run"
            f" sanlock direct init -s '{PREDECESSOR_LOCKSPACE}:0:{place}:0'"
        )


def _check(info: VolumeInfo, role: str) -> None:
    if info.capacity_bytes is not None and info.capacity_bytes < SIZES[role]:
        raise SetupRefused(
            f"volume {info.volume_id} has {info.capacity_bytes} bytes, not {SIZES[role]}"
        )
    if info.legality not in ("", "LEGAL"):
        raise SetupRefused(f"volume {info.volume_id} is {info.legality}")


async def make_volume(
    deployment: Deployment,
    pool: Pool,
    role: str,
    size_bytes: int,
    allocation: Allocation,
    say: Say,
) -> None:
    """Have VDSM make the volume that was noted for `role`, unless it is there.

    Raises SetupFailed, EnvironmentFault.
    """
    if await deployment.info(role) is not None:
        return
    image, volume = deployment.image(role), deployment.volume(role)
    try:
        task = await deployment.vdsm.create_volume(
            deployment.domain_uuid,
            image,
            volume,
            size_bytes=size_bytes,
            disk_type=role,
            description=DESCRIPTIONS[role] + MAKING,
            allocation=allocation,
            pool_id=await pool.enter(say),
        )
    except VdsmCallFailed as error:
        if error.code != VdsmCode.VOLUME_ALREADY_EXISTS:
            raise
        await _wait_until_there(deployment, role)
        return
    await wait_for_task(deployment, task, f"volume {volume}", say)


async def _wait_until_there(deployment: Deployment, role: str) -> None:
    """A task of the run before may still be at it; what it left half made is left behind."""
    ends_at = deployment.clock.now() + _APPEAR_SECONDS
    while deployment.clock.now() < ends_at:
        if await deployment.info(role) is not None:
            return
        await deployment.clock.sleep(_POLL_SECONDS)
    old = deployment.volume(role)
    for key in (f"{role}_image", f"{role}_volume"):
        deployment.choices.renew(key)
    raise SetupFailed(
        f"VDSM has a part of volume {old}, which it does not finish; run this again, and another"
        " one is made. Remove that part by hand when there is time"
    )


async def wait_for_task(deployment: Deployment, task: str, what: str, say: Say) -> None:
    """Wait for a task of VDSM's. Raises SetupFailed, DeadlineExceeded, EnvironmentFault."""
    vdsm, clock = deployment.vdsm, deployment.clock
    ends_at, told_at = clock.now() + TASK_SECONDS, clock.now()
    status = await vdsm.task_status(task)
    while not status.has_ended:
        if clock.now() >= ends_at:
            raise DeadlineExceeded(f"{what}: VDSM's task {task}", TASK_SECONDS)
        if clock.now() - told_at >= 5.0:
            told_at = clock.now()
            say(f"VDSM is at it: {status.message or status.state}")
        await clock.sleep(_POLL_SECONDS)
        status = await vdsm.task_status(task)
    await vdsm.clear_task(task)
    if not status.has_succeeded:
        raise SetupFailed(f"{what} could not be made: {status.message} (code {status.code})")


async def describe(deployment: Deployment, pool: Pool, role: str) -> None:
    """Give a volume its final description: it is finished."""
    await deployment.vdsm.set_volume_description(
        deployment.domain_uuid,
        deployment.image(role),
        deployment.volume(role),
        DESCRIPTIONS[role],
        pool_id=await pool.enter(lambda _text: None),
    )


def write_zeros(path: str, length_bytes: int) -> None:
    """Write zeros at the beginning where there are none; durable at return. Raises OSError."""
    with directio.open_file(path, write=True) as file:
        for offset in range(0, length_bytes, MIB):
            if any(file.read(offset, MIB)):
                file.write_blocks(offset, bytes(MIB))
        os.fsync(file.fd)
