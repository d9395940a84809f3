# SPDX-License-Identifier: Apache-2.0
"""The socket's verbs about the engine VM's definition and where it is stored.

Their declarations are in api/definition_verbs.py.

A definition may hold what not everybody is to read, so whoever may not change things may only
ask `ovf.history` and `can_do`. What writes goes on when its caller leaves: a write that is cut in
half would have to be repaired by the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Callable, Optional, TypeVar

from ha_agent.broker.api.arguments import Access, bound, deadlines_of
from ha_agent.broker.api.definition_verbs import VERBS
from ha_agent.broker.can_do import CanDoFacts, can_do
from ha_agent.broker.definition.keeper import DefinitionKeeper
from ha_agent.broker.definition.values import Judged
from ha_agent.broker.rpc.server import Handler, Peer, RpcRefusal
from ha_agent.broker.store.create import CreateResult
from ha_agent.broker.store.shared_config import SharedConfig, SharedFiles
from ha_agent.broker.store.writer import PutResult, StoreWriter
from ha_agent.clock import SystemClock
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.ovfstore.approval import Approval, format_approval, identity_of
from ha_agent.ovfstore.guard import Refusal
from ha_agent.ovfstore.history import History

log = logging.getLogger(__name__)
T = TypeVar("T")

_NOTES = 50
STORE_DEADLINES_SECONDS = deadlines_of(VERBS)


class DefinitionApi:
    """The handlers, by name."""

    def __init__(
        self,
        keeper: DefinitionKeeper,
        writer: StoreWriter,
        history: History,
        shared: SharedConfig,
        *,
        vm_uuid: str,
        access: Access,
        clock: SystemClock,
        can_do_facts: Callable[[], CanDoFacts],
    ) -> None:
        self._keeper = keeper
        self._writer = writer
        self._history = history
        self._shared = shared
        self._vm_uuid = vm_uuid
        self._access = access
        self._clock = clock
        self._can_do_facts = can_do_facts
        self._writing: set[asyncio.Task[Any]] = set()

    def handlers(self) -> dict[str, Handler]:
        """Return the verbs."""
        handlers: dict[str, Handler] = {
            "ovf.get": self._get,
            "ovf.history": self._versions,
            "ovf.version": self._version,
            "ovf.put": self._put,
            "ovf.accept": self._accept,
            "ovf.import": self._import,
            "can_do": self._can_do,
            "store.list": self._list,
            "store.verify": self._verify,
            "store.create": self._create,
            "conf.list": self._conf_list,
            "conf.get": self._conf_get,
            "conf.put": self._conf_put,
        }
        told = {name: _told(handler) for name, handler in handlers.items()}
        return bound(VERBS, told, self._access)

    # Looking -----------------------------------------------------------------------------

    async def _get(self, _params: Mapping[str, Any], _peer: Peer) -> Any:
        current = self._keeper.current
        if current is None:
            raise RpcRefusal("not_ready", "no definition of the engine VM is known yet")
        return {
            "identity": current.identity,
            "document": current.document,
            "source": current.source,
            "last_updated": current.last_updated,
            "accepted_at_unix_seconds": current.accepted_at.unix_seconds,
        }

    async def _versions(self, _params: Mapping[str, Any], _peer: Peer) -> Any:
        listing = await _in_thread(self._history.listing)
        versions = [
            {
                "number": version.number,
                "identity": version.identity,
                "sha256": version.sha256,
                "accepted_at_unix_seconds": version.accepted_at.unix_seconds,
                "how": version.how,
                "source": version.source,
                "last_updated": version.last_updated,
                "vm_name": version.vm_name,
                "memory_mib": version.memory_mib,
                "codes": list(version.approved),
            }
            for version in listing.versions
        ]
        return {"versions": versions, "problems": list(listing.faults)}

    async def _version(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        number = params["number"]
        try:
            document = await _in_thread(lambda: self._history.document(number))
        except (BadInput, EnvironmentFault) as fault:
            numbers = [version.number for version in await _in_thread(self._history.versions)]
            if number in numbers:
                raise
            kept = ", ".join(str(kept) for kept in numbers) or "none"
            what = f"there is no version {number}; there are: {kept}"
            raise RpcRefusal("no_such_version", what) from fault
        return {"number": number, "identity": identity_of(document), "document": document}

    async def _can_do(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        verdict = can_do(params["action"], params["object"], self._can_do_facts())
        return {"allowed": verdict.allowed, "code": verdict.code, "sentence": verdict.sentence}

    # Changing ----------------------------------------------------------------------------

    async def _put(self, params: Mapping[str, Any], peer: Peer) -> Any:
        document, force, how = params["document"], params["force"], params["how"]
        return await self._finish(self._store(document, force, how, peer.who))

    async def put_pushed(self, document: bytes, who: str) -> dict[str, Any]:
        """Do as `ovf.put` for the engine, who can't insist. Raises RpcRefusal."""

        async def put(_params: Mapping[str, Any], _peer: Peer) -> Any:
            return await self._finish(self._store(document, False, "pushed", who))

        answer: dict[str, Any] = await _told(put)({}, Peer(-1, -1, -1, name=who))
        return answer

    async def _store(self, document: bytes, force: bool, how: str, who: str) -> dict[str, Any]:
        judged = await self._keeper.judge_document(document)
        standing = [r for r in judged.refusals if not (force and r.may_force)]
        if standing:
            raise guard_refusal(standing)
        codes = tuple(refusal.code for refusal in judged.refusals)
        approval: Optional[bytes] = None
        if codes:
            when = self._clock.wall().iso()
            approval = format_approval(Approval(identity_of(document), codes, who, when))
        async with self._keeper.putting():
            result = await self._writer.put(document, approval, f"{how} by {who}")
            if result.refusal is not None:
                raise RpcRefusal(result.refusal.code, result.refusal.sentence)
            await self._keeper.accepted(
                document,
                how=how,
                source=f"{how} by {who}",
                last_updated=result.last_updated,
                approved=codes,
            )
        return _put_answer(result, judged, codes)

    async def _accept(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        identity, force = params["identity"], params["force"]
        standing = await self._finish(self._keeper.accept(identity, force=force))
        if standing:
            raise guard_refusal(standing)
        return {"identity": identity}

    async def _import(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        backup, where = params["backup"], params["where"]
        added = await self._finish(
            _in_thread(
                lambda: self._history.import_backup(backup, where=where, vm_uuid=self._vm_uuid)
            )
        )
        return {"added": [version.number for version in added]}

    # The store ---------------------------------------------------------------------------

    async def _list(self, _params: Mapping[str, Any], _peer: Peer) -> Any:
        listing = await self._writer.list()
        copies = [
            {
                "image_uuid": ranked.copy.image_uuid,
                "volume_uuid": ranked.copy.volume_uuid,
                "usable": ranked.usable,
                "sentences": [ranked.reason],
            }
            for ranked in listing.copies
        ]
        return {"copies": copies, "problems": list(listing.problems)}

    async def _verify(self, _params: Mapping[str, Any], _peer: Peer) -> Any:
        verdict = await self._writer.verify()
        copies = [
            {
                "image_uuid": check.ranked.copy.image_uuid,
                "volume_uuid": check.ranked.copy.volume_uuid,
                "usable": check.is_good,
                "sentences": list(check.sentences()),
            }
            for check in verdict.copies
        ]
        problems = list(verdict.problems)
        if len(verdict.copies) == 1:
            problems.append("only one copy: a write that is cut off would leave none")
        elif verdict.copies and not verdict.agree:
            problems.append("the copies do not all hold the same definition")
        return {"copies": copies, "problems": problems, "good": verdict.is_good}

    async def _create(self, _params: Mapping[str, Any], _peer: Peer) -> Any:
        result: CreateResult = await self._finish(self._writer.create())
        if result.refusal is not None:
            raise RpcRefusal(result.refusal.code, result.refusal.sentence)
        made = [
            {"image_uuid": copy.image_uuid, "volume_uuid": copy.volume_uuid}
            for copy in result.created
        ]
        return {"made": made, "count": len(result.existing) + len(result.created)}

    # The shared configuration ------------------------------------------------------------

    async def _conf_list(self, _params: Mapping[str, Any], _peer: Peer) -> Any:
        return _conf_answer(await self._shared.read())

    async def _conf_get(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        name = params["name"]
        found = await self._shared.read()
        if name not in found.files:
            raise BadInput(f"there is no {name!r:.60} in volume {found.volume_uuid}")
        return {"name": name, "content": found.files[name]}

    async def _conf_put(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        name, content = params["name"], params["content"]
        return _conf_answer(await self._finish(self._shared.put(name, content)))

    async def _finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work to its end, whether or not the caller waits for it."""
        task = asyncio.ensure_future(work)
        self._writing.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._writing.discard(task)
        # Its caller may be gone: then this is the only place where the failure is told.
        if task.cancelled() or isinstance(task.exception(), (RpcRefusal, BadInput)):
            return  # as asked: nothing failed
        if task.exception() is not None:
            log.warning("a change of the definition failed: %s", task.exception())


def _told(handler: Handler) -> Handler:
    """Return the handler with what it raises made into an answer."""

    async def answer(params: Mapping[str, Any], peer: Peer) -> Any:
        try:
            return await handler(params, peer)
        except BadInput as fault:
            raise RpcRefusal("bad_document", str(fault)) from fault
        except EnvironmentFault as fault:
            raise RpcRefusal("storage", str(fault)) from fault

    return answer


def guard_refusal(refusals: Sequence[Refusal]) -> RpcRefusal:
    """Return the guard's refusals as one answer."""
    text = "; ".join(f"{refusal.code}: {refusal.sentence}" for refusal in refusals)
    advice = (
        "--force insists"
        if all(refusal.may_force for refusal in refusals)
        else "nobody can insist on that"
    )
    details = {
        "refusals": [
            {"code": r.code, "sentence": r.sentence, "may_force": r.may_force} for r in refusals
        ]
    }
    return RpcRefusal("guard", f"{text} ({advice})", details)


def _conf_answer(found: SharedFiles) -> dict[str, Any]:
    sizes = [{"name": name, "size_bytes": len(data)} for name, data in found.files.items()]
    return {"volume_uuid": found.volume_uuid, "files": sizes, "notes": list(found.notes)}


def _put_answer(result: PutResult, judged: Judged, codes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "identity": result.identity,
        "last_updated": result.last_updated,
        "differences": list(judged.differences),
        "notes": [*judged.domain.notes, *judged.vm.notes][:_NOTES],
        "codes": list(codes),
        "problems": list(result.problems),
        "copies": [
            {
                "volume_uuid": written.copy.volume_uuid,
                "size_bytes": written.size_bytes,
                "written_bytes": written.written_bytes,
                "whole": written.whole,
                "direct": written.direct,
                "locked": written.locked,
            }
            for written in result.copies
        ],
    }


async def _in_thread(call: Callable[[], T]) -> T:
    """Do what blocks on this host's disk."""
    return await asyncio.get_running_loop().run_in_executor(None, call)
