# SPDX-License-Identifier: Apache-2.0
"""The fixtures of the contract suite: `target`, `vdsm` (our client), `wire` (frames by hand)."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.vdsm.contract.recorder import recorded
from tests.vdsm.contract.talk import Talk, Wire, on_the_wire, talking
from tests.vdsm.contract.target import VARIABLE, Target, embedded, from_environment

KINDS = ["real"] if os.environ.get(VARIABLE) else ["tcp", "tls"]


@pytest.fixture(scope="session", params=KINDS)
def vdsm_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    """The VDSM under test, one for all tests: each leaves it as it was."""
    if request.param == "real":
        yield from_environment(os.environ)
        return
    if not shutil.which("qemu-system-x86_64"):
        pytest.skip("the embedded VDSM needs QEMU")
    with embedded(tmp_path_factory.mktemp(f"vdsm-{request.param}"), request.param) as target:
        yield target


@pytest.fixture
async def target(request: pytest.FixtureRequest, vdsm_server: Target) -> AsyncIterator[Target]:
    """The VDSM under test, with a recorder between where HA_AGENT_RECORD_VDSM asks for it."""
    async with recorded(vdsm_server, os.environ, request.node.name) as target:
        yield target


@pytest.fixture
async def vdsm(target: Target) -> AsyncIterator[Talk]:
    """Our typed client, connected."""
    async with talking(target) as talk:
        yield talk


@pytest.fixture
async def wire(target: Target) -> AsyncIterator[Wire]:
    """A connection that has said nothing yet."""
    async with on_the_wire(target) as one:
        yield one


@pytest.fixture
def changeable(target: Target) -> Target:
    """The VDSM under test, where tests may change things."""
    if not target.may_change:
        pytest.skip(f"changes nothing on a real VDSM without {VARIABLE}_CHANGES=yes")
    return target


@pytest.fixture
def ours(target: Target) -> Target:
    """The embedded VDSM: for what would harm a real one's other clients."""
    if not target.is_ours:
        pytest.skip("would end a real VDSM's service to its other clients")
    return target


@pytest.fixture
def domain(target: Target) -> str:
    """A storage domain that may be looked at."""
    if not target.domain_id:
        pytest.skip(f"{VARIABLE}_DOMAIN is not set")
    return target.domain_id


@pytest.fixture
def guest(changeable: Target) -> Target:
    """The VDSM under test, where a VM may be started."""
    if not changeable.vm_xml:
        pytest.skip(f"{VARIABLE}_VM is not set")
    return changeable
