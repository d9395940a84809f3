# SPDX-License-Identifier: Apache-2.0
"""The four stores of configuration by key (compat/shared_config.py), read and written.

A change of one key is one operation to everybody who makes another at the same time. In the
configuration volume it is the compare-and-swap of shared_config.py, under the lock that holds for
all hosts; for this host's own files the broker is the only one of ours that writes them, one
change at a time. A file is replaced in one piece.

On block storage no lock reaches the other hosts, so that one that looked before our write may
write after it, without our key. There we look again after the settle time, and where the key has
its old value back, set it again; the other one does the same for its own.

Each host has a copy of the configuration volume's broker.conf, which its daemons read when they
start. Where there is one it is kept like the volume's, as the predecessor does.

What hosted-engine.conf says is used from the next start of the daemons on. The flags of ha.conf
go through the keeper of local maintenance, and count at once.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Callable, NamedTuple, Optional, Protocol, TypeVar

from ha_agent import maintenance_file
from ha_agent.broker.store.shared_config import SharedConfig, SharedFiles
from ha_agent.compat import conf_writer, hosted_engine_conf
from ha_agent.compat import shared_config as stores
from ha_agent.errors import BadInput, EnvironmentFault

log = logging.getLogger(__name__)
T = TypeVar("T")

_COPY_INTERVAL_SECONDS = 3600.0
_RETRY_SECONDS = 60.0
_SETTLE_TRIES = 5


class Clock(Protocol):
    """What is needed of ports.Clock."""

    async def sleep(self, duration_seconds: float) -> None: ...


class Flags(Protocol):
    """What is needed of LocalMaintenanceKeeper (maintenance/local.py)."""

    async def read(self) -> maintenance_file.LocalMaintenance: ...

    async def set_key(self, key: str, value: str, *, who: str) -> None: ...


class KeyValue(NamedTuple):
    """A key's value, and where it is. `value` None: it may be set there, and is not."""

    store: str
    value: Optional[str]


class SharedKeys:
    """Tells and sets keys.

    Each call raises BadInput for a file that is damaged, EnvironmentFault when one can't be read
    or written, and what compat/shared_config.py raises for keys and values.
    """

    def __init__(
        self,
        shared: SharedConfig,
        flags: Flags,
        *,
        hosted_engine_conf: Optional[Path],
        broker_conf: Path,
        settle_seconds: float,
        clock: Clock,
    ) -> None:
        """`hosted_engine_conf` is this host's own, None for none; `broker_conf` the copy.

        `settle_seconds`: 0 where the lock holds for all hosts."""
        self._shared = shared
        self._flags = flags
        self._local = hosted_engine_conf
        self._copy = broker_conf
        self._settle_seconds = settle_seconds
        self._clock = clock
        self._busy = asyncio.Lock()

    async def keys(self, store: Optional[str] = None) -> dict[str, list[str]]:
        """Return the names of the keys of one store, or of all four."""
        found = await self._read_stores(stores.STORES if store is None else (store,))
        return {name: stores.keys_of(name, values) for name, values in found.items()}

    async def get(self, key: str, store: Optional[str] = None) -> KeyValue:
        """Return a key's value; without `store` it is looked for in all."""
        found = await self._read_stores(stores.STORES if store is None else (store,))
        place = stores.store_of(key, found)
        return KeyValue(place, found[place].get(stores.name_in(place, key)))

    async def set(
        self, key: str, value: str, store: Optional[str] = None, *, who: str
    ) -> KeyValue:
        """Set a key, and return what is there then. `who` is noted where that is kept."""
        if store is None:
            store = stores.store_of(key, await self._read_stores(stores.STORES))
        if store == stores.HA:
            text = maintenance_file.form(await self._flags.read())
            stores.check_ha_key(text, key, value)
            await self._flags.set_key(key, value, who=who)
        elif store == stores.HE_LOCAL:
            await self._set_local(key, value)
        else:
            await self._set_shared(store, key, value)
        return KeyValue(store, value)

    async def run(self) -> None:
        """Keep this host's copy of broker.conf like the volume's, for ever."""
        while True:
            wait_seconds = _COPY_INTERVAL_SECONDS
            try:
                if await _in_thread(self._copy.exists):
                    await self._refresh(await self._shared.read())
            except (BadInput, EnvironmentFault) as fault:
                log.debug("%s stays as it is: %s", self._copy, fault)
                wait_seconds = _RETRY_SECONDS
            await self._clock.sleep(wait_seconds)

    # Reading -----------------------------------------------------------------------------

    async def _read_stores(self, names: tuple[str, ...]) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        shared: Optional[SharedFiles] = None
        for name in names:
            if name in stores.SHARED_FILES:
                shared = shared or await self._shared.read()
                found[name] = _shared_values(name, shared)
            elif name == stores.HA:
                text = maintenance_file.form(await self._flags.read())
                found[name] = stores.values_in(name, text, "ha.conf")
            else:
                found[name] = await self._read_local(name)
        return found

    async def _read_local(self, name: str) -> dict[str, str]:
        path = self._local_path()
        return stores.values_in(name, await _in_thread(lambda: _read(path)), str(path))

    # Writing -----------------------------------------------------------------------------

    async def _set_local(self, key: str, value: str) -> None:
        path = self._local_path()

        def work() -> None:
            text = stores.with_key(stores.HE_LOCAL, _read(path), key, value, where=str(path))
            conf_writer.write_conf(path, text)

        async with self._busy:
            await _in_thread(work)

    async def _set_shared(self, store: str, key: str, value: str) -> None:
        name = stores.SHARED_FILES[store]
        where = f"{name} of the configuration volume"
        named = stores.name_in(store, key)
        old_value: Optional[str] = None

        def edit(old: Optional[bytes]) -> bytes:
            nonlocal old_value
            text = _text(old or b"", where)
            old_value = stores.values_in(store, text, where).get(named)
            return stores.with_key(store, text, key, value, where=where).encode()

        for _ in range(_SETTLE_TRIES):
            found = await self._shared.change(name, edit)
            if not self._settle_seconds or old_value == value:
                break
            await self._clock.sleep(self._settle_seconds)
            found = await self._shared.read()
            if _shared_values(store, found).get(named) != old_value:
                break  # ours, or one that somebody has set since
        else:
            raise EnvironmentFault(f"{key}: others change {where} all the time")
        if store == stores.BROKER:
            await self._refresh(found)

    async def _refresh(self, shared: SharedFiles) -> None:
        name = stores.SHARED_FILES[stores.BROKER]
        _shared_values(stores.BROKER, shared)  # what can't be read is not passed on
        content = _text(shared.files.get(name, b""), name)

        def work() -> bool:
            if not content or not self._copy.exists() or _read(self._copy) == content:
                return False
            conf_writer.write_conf(self._copy, content)
            return True

        async with self._busy:
            if await _in_thread(work):
                log.info("%s is now as in the configuration volume", self._copy)

    def _local_path(self) -> Path:
        if self._local is None:
            raise EnvironmentFault("[storage] hosted_engine_conf names no file on this host")
        return self._local


def _shared_values(store: str, shared: SharedFiles) -> dict[str, str]:
    name = stores.SHARED_FILES[store]
    where = f"{name} of volume {shared.volume_uuid}"
    return stores.values_in(store, _text(shared.files.get(name, b""), where), where)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(hosted_engine_conf.MAX_BYTES + 1)
    except OSError as error:
        raise EnvironmentFault(f"{path}: can't be read: {error.strerror}") from error
    if len(data) > hosted_engine_conf.MAX_BYTES:
        raise BadInput("is larger than 64 KiB", where=str(path))
    return _text(data, str(path))


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadInput("is not UTF-8 text", where=where, offset=error.start) from error


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, work)
