# SPDX-License-Identifier: Apache-2.0
"""ports.Hypervisor: one contract for the fake of tests/fakes.py and for VdsmHypervisor over the
embedded VDSM with a real QEMU; then what only the adapter does, over a caller that is played."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Optional

import pytest

from ha_agent.clock import SystemClock
from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.fsm.observation import VmCondition, VmExit
from ha_agent.vdsm.client.client import ClientState, VdsmClient
from ha_agent.vdsm.client.verbs import Vdsm
from ha_agent.vdsm.errors import VdsmCallFailed, VdsmCode
from ha_agent.vdsm.jsonrpc import Event
from ha_agent.vdsm_port import VdsmHypervisor
from tests.fakes import FakeHypervisor, VmLease
from tests.hypervisor_contract import HypervisorContract, OneHost
from tests.vdsm.embedded import VM, Host, kill, make_domain

CLOCK = SystemClock()
REAL = pytest.param(
    "real",
    marks=[
        pytest.mark.qemu,
        pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs QEMU"),
    ],
)


def fake_hosts() -> list[OneHost]:
    lease = VmLease()
    made = [FakeHypervisor(lease, start_seconds=0.02, shutdown_seconds=0.1) for _ in range(2)]

    def one(fake: FakeHypervisor) -> OneHost:
        async def silence() -> None:
            fake.answers = False

        return OneHost(fake, lambda: fake.end(VmExit.CRASHED), silence)

    return [one(fake) for fake in made]


@contextlib.asynccontextmanager
async def real_hosts(domain: Path) -> AsyncIterator[list[OneHost]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await real_host(domain, stack) for _ in range(2)]


async def real_host(domain: Path, stack: contextlib.AsyncExitStack) -> OneHost:
    host = Host(domain, networks={"ovirtmgmt": "user"})
    stack.push_async_callback(host.clean_up)
    (await host.start()).close()
    assert host.vdsm is not None
    ready = asyncio.Event()
    client = VdsmClient(
        "127.0.0.1",
        host.vdsm.port,
        clock=CLOCK,
        uniform=lambda: 0.0,
        on_connected=ready.set,
    )
    client.start()
    stack.push_async_callback(client.close)
    await asyncio.wait_for(ready.wait(), 20)

    async def silence() -> None:
        await host.stop()
        while client.state is ClientState.READY:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    hypervisor = VdsmHypervisor(Vdsm(client), VM, shutdown_timeout_seconds=60.0)
    return OneHost(hypervisor, lambda: kill(host.pid()), silence)


@pytest.fixture(params=["fake", REAL])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[list[OneHost]]:
    if request.param == "fake":
        yield fake_hosts()
        return
    async with real_hosts(make_domain(tmp_path)) as made:
        yield made


class TestContract(HypervisorContract):
    """See HypervisorContract."""


# The adapter ------------------------------------------------------------------------------

NOT_HERE = VdsmCallFailed("VM.getStats", VdsmCode.NO_SUCH_VM, "no such VM")
HERE = [{"vmId": VM, "status": "WaitForLaunch"}]


class PlayedVdsm:
    """Answers each verb from what a test has set; a verb with a gate waits for it, with the
    answer that was true when the call came."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"VM.create": {"vmId": VM}, "VM.destroy": True}
        self.gates: dict[str, asyncio.Event] = {}
        self.calls: list[str] = []
        self.params: Mapping[str, Any] = {}

    async def call(
        self,
        method: str,
        params: Mapping[str, Any],
        *,
        deadline_seconds: Optional[float] = None,
    ) -> Any:
        self.calls.append(method)
        self.params = params
        answer = self.answers[method]
        gate = self.gates.pop(method, None)
        if gate is not None:
            await gate.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def vdsm() -> PlayedVdsm:
    return PlayedVdsm()


@pytest.fixture
def hypervisor(vdsm: PlayedVdsm) -> VdsmHypervisor:
    return VdsmHypervisor(Vdsm(vdsm), VM, shutdown_timeout_seconds=0.4)


@pytest.mark.parametrize("change", ["create", "destroy"])
@pytest.mark.parametrize("fault", [None, DeadlineExceeded("the call", 30.0)])
async def test_a_look_that_a_change_overtook_is_repeated(
    vdsm: PlayedVdsm, hypervisor: VdsmHypervisor, change: str, fault: Optional[Exception]
) -> None:
    """VDSM answers out of order: "no such VM" from before a create would have it started twice,
    also where the create itself got no answer."""
    before, after = (NOT_HERE, HERE) if change == "create" else (HERE, NOT_HERE)
    vdsm.answers["VM.getStats"] = before
    gate = vdsm.gates["VM.getStats"] = asyncio.Event()
    looking = asyncio.ensure_future(hypervisor.look())
    await asyncio.sleep(0)
    vdsm.answers["VM.getStats"] = after
    if fault is not None:
        vdsm.answers[f"VM.{change}"] = fault
    with contextlib.suppress(DeadlineExceeded):
        await (hypervisor.create("<domain/>") if change == "create" else hypervisor.destroy())
    gate.set()
    expected = VmCondition.STARTING if change == "create" else VmCondition.ABSENT
    assert (await asyncio.wait_for(looking, 5)).condition is expected
    assert vdsm.calls.count("VM.getStats") == 2


async def test_a_look_that_nothing_overtook_asks_once(
    vdsm: PlayedVdsm, hypervisor: VdsmHypervisor
) -> None:
    vdsm.answers["VM.getStats"] = HERE
    await hypervisor.look()
    assert vdsm.calls == ["VM.getStats"]


@pytest.mark.parametrize(
    "answer", [DeadlineExceeded("VM.getStats", 5.0), [], {"no": "list"}, EnvironmentFault("tls")]
)
async def test_no_answer_that_can_be_used_is_unknown(
    vdsm: PlayedVdsm, hypervisor: VdsmHypervisor, answer: Any
) -> None:
    vdsm.answers["VM.getStats"] = answer
    view = await hypervisor.look()
    assert view.condition is VmCondition.UNKNOWN
    assert view.detail


async def test_a_shutdown_begins_at_once_and_has_our_time_as_whole_seconds(
    vdsm: PlayedVdsm, hypervisor: VdsmHypervisor
) -> None:
    vdsm.answers["VM.shutdown"] = True
    await hypervisor.shutdown()
    assert vdsm.params["delay"] == 0
    assert vdsm.params["timeout"] == 1


async def test_of_two_looks_the_later_picture_stays_whoever_is_answered_last(
    vdsm: PlayedVdsm, hypervisor: VdsmHypervisor
) -> None:
    """VDSM serves calls in several threads, and its answers may overtake each other."""
    vdsm.answers["VM.getStats"] = [{"vmId": VM, "status": "Up", "statusTime": "2147483700"}]
    gate = vdsm.gates["VM.getStats"] = asyncio.Event()
    looking = asyncio.ensure_future(hypervisor.look())
    await asyncio.sleep(0)
    down = [{"vmId": VM, "status": "Down", "statusTime": "2147483800", "exitReason": 2}]
    vdsm.answers["VM.getStats"] = down
    assert (await hypervisor.look()).condition is VmCondition.DOWN
    gate.set()
    assert (await looking).condition is VmCondition.DOWN
    assert vdsm.calls == ["VM.getStats"] * 3


async def test_events_are_news_as_long_as_no_answer_has_told_them(
    vdsm: PlayedVdsm, hypervisor: VdsmHypervisor
) -> None:
    old = Event(f"|virt|VM_status|{VM}", {VM: {"status": "Down"}, "notify_time": 2147483650})
    vdsm.answers["VM.getStats"] = [{"vmId": VM, "status": "Up", "statusTime": "2147483700"}]
    await hypervisor.look()
    assert not hypervisor.hears(old)
    hypervisor.connected()
    assert hypervisor.hears(old)
