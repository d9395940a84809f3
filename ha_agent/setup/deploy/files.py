# SPDX-License-Identifier: Apache-2.0
"""Steps of a deploy: hosted-engine.conf on this host, the archive in the configuration volume.

A file of another engine VM or domain is not touched. One of this VM keeps the keys that the
deploy does not know, and later changes of those that it does (`set-shared-config`) stay.
"""

from __future__ import annotations

from pathlib import Path

from ha_agent.compat import hosted_engine_conf
from ha_agent.compat.conf_writer import set_keys, write_conf
from ha_agent.errors import BadInput
from ha_agent.ovfstore import conf_volume
from ha_agent.setup.deploy.config import hosted_engine_values, read_conf, shared_files
from ha_agent.setup.deploy.definition import Document
from ha_agent.setup.deploy.deployment import CONFIGURATION, FILE_SECONDS, Deployment
from ha_agent.setup.step import Found, Say, SetupFailed, SetupRefused
from ha_agent.vdsm_user import vdsm_owner

# What makes a hosted-engine.conf this cluster's and this host's.
_IDENTITY = ("vmid", "sdUUID", "host_id", "metadata_volume_UUID", "conf_volume_UUID")
_LOCK_WAIT_SECONDS = 2.0


class WriteConf:
    """hosted-engine.conf on this host."""

    name, title = "conf", "write hosted-engine.conf on this host"

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    async def look(self) -> Found:
        """Raises SetupRefused for another engine VM's file."""
        deployment = self._deployment
        path = deployment.conf_path
        conf = await deployment.blocking(str(path), lambda: read_conf(path))
        if conf is None or not conf.values:
            return Found(False, str(path))
        wanted = hosted_engine_values(deployment, await _domain_path(deployment))
        for key, what in (("vmid", "engine VM"), ("sdUUID", "storage domain")):
            there = conf.values.get(key, "").lower()
            if there and there != wanted[key]:
                raise SetupRefused(
                    f"{path} is of another {what}, {there}: this host belongs to a cluster; leave"
                    " it first"
                )
        missing = [key for key in _IDENTITY if conf.values.get(key, "") != wanted[key]]
        missing += [key for key, text in wanted.items() if text and key not in conf.values]
        if missing:
            return Found(False, f"{path} lacks {', '.join(dict.fromkeys(missing))}")
        # Without values: mount options may have a secret, too.
        other = [key for key, text in wanted.items() if conf.values.get(key, "") != text]
        if other:
            return Found(
                True, f"{path}; not as answered now, and left as it is: {', '.join(other)}"
            )
        return Found(True, str(path))

    async def do(self, say: Say) -> str:
        """Write it: what is there and not of this deploy stays."""
        del say
        deployment = self._deployment
        path = deployment.conf_path
        wanted = hosted_engine_values(deployment, await _domain_path(deployment))

        def write() -> None:
            conf = read_conf(path)
            there = conf.values if conf is not None else {}
            text = path.read_text(encoding="utf-8") if conf is not None else ""
            changes = {k: v for k, v in wanted.items() if k in _IDENTITY or k not in there}
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            write_conf(path, set_keys(text, changes, where=str(path)), owner=vdsm_owner())

        await deployment.blocking(str(path), write)
        return str(path)


class WriteShared:
    """The configuration volume's archive."""

    name, title = "shared", "put the shared configuration on the storage"

    def __init__(self, deployment: Deployment, document: Document) -> None:
        self._deployment = deployment
        self._document = document

    async def look(self) -> Found:
        """Raises SetupRefused for another engine VM's configuration, or something else."""
        deployment = self._deployment
        if not await deployment.is_finished(CONFIGURATION):
            return Found(False, "when the configuration volume is there")
        path = await deployment.path(CONFIGURATION)
        head: bytes = await deployment.lane.call(
            "lockspace_read", FILE_SECONDS, path=path, length_bytes=conf_volume.ARCHIVE_BYTES
        )
        if not any(head):
            return Found(False, "the volume is empty")
        try:
            answer = await deployment.lane.call("read_conf_volume", FILE_SECONDS, path=path)
        except BadInput as error:
            raise SetupRefused(f"the configuration volume holds something else: {error}") from None
        files = {str(name): bytes(data) for name, data in answer["files"].items()}
        missing = [name for name in conf_volume.FILE_NAMES if name not in files]
        text = files.get("hosted-engine.conf", b"").decode("utf-8", "replace")
        vm = hosted_engine_conf.parse(text, "the shared hosted-engine.conf").values.get("vmid", "")
        if vm and vm.lower() != deployment.vm_uuid:
            raise SetupRefused(f"the configuration volume is of another engine VM, {vm}")
        if missing:
            raise SetupRefused(f"the configuration volume lacks {', '.join(missing)}")
        return Found(True, f"{len(files)} files")

    async def do(self, say: Say) -> str:
        """Write all five."""
        del say
        deployment = self._deployment
        files = shared_files(deployment, await _domain_path(deployment), await self._document())
        answer = await deployment.lane.call(
            "write_conf_volume",
            FILE_SECONDS,
            path=await deployment.path(CONFIGURATION),
            files=files,
            expected=None,
            lock_wait_seconds=_LOCK_WAIT_SECONDS,
        )
        if not answer["done"]:
            raise SetupFailed("somebody else writes the configuration volume; run this again")
        return f"{len(files)} files"


async def _domain_path(deployment: Deployment) -> Path:
    return await deployment.domain_path()
