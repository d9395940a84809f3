# SPDX-License-Identifier: Apache-2.0
"""The socket's verbs for single keys of the configuration that hosts share, and of this host's.

    conf.keys       which keys each store has
    conf.get_key    one key's value
    conf.set_key    sets one, without losing what another host sets at the same time

The predecessor's counterpart: `hosted-engine --get-shared-config` and `--set-shared-config`.
Which store is where: compat/shared_config.py. Values may be secrets, so whoever may not change
things may not ask either, and none is ever logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from ha_agent.broker.api.arguments import Access, bound, deadlines_of
from ha_agent.broker.api.verb import Argument, Field, Kind, Verb, Who
from ha_agent.broker.part import Part
from ha_agent.broker.rpc.server import Handler, Peer, RpcRefusal
from ha_agent.broker.store.shared_config import SharedConfig
from ha_agent.broker.store.shared_keys import Clock, Flags, KeyValue, SharedKeys
from ha_agent.compat.legacy_keys import BROKER, FILES
from ha_agent.compat.shared_config import STORES, BadValue, KeyNotFound, SeveralStores
from ha_agent.config.storage import StorageConfig
from ha_agent.errors import BadInput, EnvironmentFault

log = logging.getLogger(__name__)

MAX_KEY_CHARACTERS = 200
_KEY = Argument("key", Kind.TEXT, "its name; of broker.conf section.key", most=MAX_KEY_CHARACTERS)
_STORE = Argument(
    "store",
    Kind.TEXT,
    "which one; without it, the only one that has the key",
    None,
    choices=STORES,
)
_ERRORS = ("not_found", "bad_document", "storage")
_PLACE = (Field("key", Kind.TEXT, "as asked"), Field("store", Kind.TEXT, "where it is"))

VERBS = (
    Verb(
        "conf.keys",
        "Lists the keys of the configuration's stores.",
        who=Who.CHANGE,
        arguments=(Argument("store", Kind.TEXT, "this one only", None, choices=STORES),),
        result=(Field("keys", Kind.MAP, "by store, the list of its keys"),),
        errors=_ERRORS,
        deadline_seconds=120.0,
    ),
    Verb(
        "conf.get_key",
        "Tells one key of the configuration.",
        who=Who.CHANGE,
        arguments=(_KEY, _STORE),
        result=(
            *_PLACE,
            Field("value", Kind.TEXT, "nil: it may be set there, and is not", optional=True),
        ),
        errors=_ERRORS,
        deadline_seconds=120.0,
    ),
    Verb(
        "conf.set_key",
        "Sets one key of the configuration, at once for all who read it.",
        who=Who.CHANGE,
        arguments=(_KEY, Argument("value", Kind.TEXT, "its new value, one line"), _STORE),
        result=_PLACE,
        errors=_ERRORS,
        deadline_seconds=300.0,
    ),
)


class SharedKeysApi:
    """The handlers, by name."""

    def __init__(self, keys: SharedKeys, *, access: Access) -> None:
        self._keys = keys
        self._access = access
        self._setting: set[asyncio.Task[KeyValue]] = set()

    def handlers(self) -> dict[str, Handler]:
        """Return the verbs."""
        handlers: dict[str, Handler] = {
            "conf.keys": self._list,
            "conf.get_key": self._get,
            "conf.set_key": self._set,
        }
        told = {name: _told(handler) for name, handler in handlers.items()}
        return bound(VERBS, told, self._access)

    async def _list(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        return {"keys": await self._keys.keys(params["store"])}

    async def _get(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        found = await self._keys.get(params["key"], params["store"])
        return {"key": params["key"], "store": found.store, "value": found.value}

    async def _set(self, params: Mapping[str, Any], peer: Peer) -> Any:
        key = params["key"]
        work = self._keys.set(key, params["value"], params["store"], who=peer.who)
        found = await self._finish(work)
        log.info("%s set %s in %s", peer.who, key, found.store)
        return {"key": key, "store": found.store}

    async def _finish(self, work: Coroutine[Any, Any, KeyValue]) -> KeyValue:
        """Do the work to its end, whether or not the caller waits for it."""
        task = asyncio.ensure_future(work)
        self._setting.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[KeyValue]) -> None:
        self._setting.discard(task)
        if not task.cancelled():
            task.exception()  # told to the caller; one who is gone asked for no more


def _told(handler: Handler) -> Handler:
    """Return the handler with what it raises made into an answer."""

    async def answer(params: Mapping[str, Any], peer: Peer) -> Any:
        try:
            return await handler(params, peer)
        except KeyNotFound as fault:
            raise RpcRefusal("not_found", str(fault)) from fault
        except SeveralStores as fault:
            raise RpcRefusal("bad_argument", str(fault), {"stores": list(fault.stores)}) from fault
        except BadValue as fault:
            raise RpcRefusal("bad_argument", str(fault)) from fault
        except BadInput as fault:
            raise RpcRefusal("bad_document", str(fault)) from fault
        except EnvironmentFault as fault:
            raise RpcRefusal("storage", str(fault)) from fault

    return answer


def shared_keys_part(
    shared: SharedConfig,
    flags: Flags,
    storage: StorageConfig,
    *,
    clock: Clock,
    access: Access,
) -> Part:
    """Build the feature."""
    keys = SharedKeys(
        shared,
        flags,
        hosted_engine_conf=storage.hosted_engine_conf,
        broker_conf=Path(FILES[BROKER][0]),
        settle_seconds=storage.io_deadline_seconds if storage.is_block else 0.0,
        clock=clock,
    )
    handlers = SharedKeysApi(keys, access=access).handlers()
    return Part("shared-keys", handlers, deadlines_of(VERBS), (keys.run,))
