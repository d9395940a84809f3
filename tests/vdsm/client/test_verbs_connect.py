# SPDX-License-Identifier: Apache-2.0
"""Each verb's name, parameters and answer (facts 2, and vdsm's vdsm-api.yml)."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Callable

import pytest

from ha_agent.errors import DeadlineExceeded
from ha_agent.vdsm.client.answers_connect import ConnectionStatus
from ha_agent.vdsm.client.storage_server import DomainType, Portal, fc, iscsi
from ha_agent.vdsm.client.verbs import NO_POOL, Vdsm
from ha_agent.vdsm.errors import VdsmBadAnswer, VdsmCallFailed, VdsmError
from tests.vdsm.recording_caller import RecordingCaller, ask, refused

SERVER = iscsi([Portal("10.0.0.1"), Portal("10.0.0.2")], "iqn.a:b", user="u", password="p")
SENT = {
    "storagepoolID": NO_POOL,
    "domainType": 3,
    "connectionParams": [dict(one.fields) for one in SERVER.connections],
}
USES: list[tuple[Callable[[Vdsm], Awaitable[Any]], Any, str, dict[str, Any]]] = [
    (lambda v: v.connect_storage_server(SERVER), [], "StoragePool.connectStorageServer", SENT),
    (
        lambda v: v.connect_storage_server(fc()),
        [],
        "StoragePool.connectStorageServer",
        {
            "storagepoolID": NO_POOL,
            "domainType": 2,
            "connectionParams": [{"id": fc().connections[0].id}],
        },
    ),
    (
        lambda v: v.disconnect_storage_server(SERVER),
        [],
        "StoragePool.disconnectStorageServer",
        SENT,
    ),
    (lambda v: v.domain_space("sd"), {}, "StorageDomain.getStats", {"storagedomainID": "sd"}),
    (lambda v: v.storage_domains(), [], "Host.getStorageDomains", {}),
    (
        lambda v: v.block_devices(DomainType.FCP),
        [],
        "Host.getDeviceList",
        {"storageType": 2, "guids": [], "checkStatus": False, "refresh": True},
    ),
    (
        lambda v: v.discover_targets(Portal("10.0.0.1", 3261)),
        [],
        "ISCSIConnection.discoverSendTargets",
        {"host": "10.0.0.1", "port": "3261"},
    ),
    (
        lambda v: v.discover_targets(Portal("10.0.0.1"), "u", "p"),
        [],
        "ISCSIConnection.discoverSendTargets",
        {"host": "10.0.0.1", "port": "3260", "user": "u", "password": "p"},
    ),
]


@pytest.mark.parametrize(("use", "answer", "method", "params"), USES)
async def test_what_travels(
    use: Callable[[Vdsm], Awaitable[Any]], answer: Any, method: str, params: dict[str, Any]
) -> None:
    caller = RecordingCaller(answer)
    await use(Vdsm(caller))
    assert (caller.method, caller.params) == (method, params)
    assert caller.deadline_seconds is not None
    # VDSM itself waits 120 s for a target that does not answer.
    assert (caller.deadline_seconds > 120) == method.endswith("StorageServer")


@pytest.mark.parametrize(("use", "answer", "method", "params"), USES)
async def test_a_code_stays_and_so_does_its_text(
    use: Callable[[Vdsm], Awaitable[Any]], answer: Any, method: str, params: dict[str, Any]
) -> None:
    for code in (1000, 358, 471, 99999):
        with pytest.raises(VdsmCallFailed, match="because") as caught:
            await ask(VdsmCallFailed(method, code, "because"), use)
        assert (caught.value.code, caught.value.message) == (code, "because")
    with pytest.raises(DeadlineExceeded):
        await ask(DeadlineExceeded(method, 1.0), use)
    with pytest.raises(VdsmBadAnswer, match=method):
        await ask(7, use)


async def test_one_of_two_that_fails_inside_a_good_answer() -> None:
    first, second = SERVER.connections
    answer = [{"id": second.id, "status": 465}, {"id": first.id, "status": 0}]
    statuses = await ask(answer, lambda v: v.connect_storage_server(SERVER))
    assert statuses == [ConnectionStatus(second.id, 465), ConnectionStatus(first.id, 0)]
    assert [bool(status.why) for status in statuses] == [True, False]


async def test_no_error_tells_a_password() -> None:
    secret = iscsi([Portal("10.0.0.1")], "iqn.a:b", user="u", password="s3cret")
    answers: tuple[Any, ...] = (refused(471), {}, [{}])
    for answer in answers:
        with pytest.raises(VdsmError) as caught:
            await ask(answer, lambda v: v.connect_storage_server(secret))
        assert "s3cret" not in str(caught.value)
