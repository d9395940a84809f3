# SPDX-License-Identifier: Apache-2.0
"""ports.Broker over the broker's socket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from ha_agent.broker.rpc.client import RpcCallFailed, RpcClient
from ha_agent.broker.snapshot import Report, Snapshot, from_wire, to_wire
from ha_agent.errors import EnvironmentFault
from ha_agent.ports import DomainDefinition, LeaseAnswer


class BrokerRefused(EnvironmentFault):
    """The broker answered with an error: `code` of the socket's error list."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class SocketBroker:
    """Talks to the broker of this host. Each call has the client's deadline.

    What fails raises an EnvironmentFault (BrokerRefused for an error that the broker answered
    with), an answer of another shape a BadInput that names the field.
    """

    def __init__(self, client: RpcClient, *, lease_deadline_seconds: float) -> None:
        """`lease_deadline_seconds` covers one write of the lease on storage and its lock."""
        self._client = client
        self._lease_deadline_seconds = lease_deadline_seconds

    async def snapshot(self, since_version: int, wait_seconds: float) -> Snapshot:
        params = {"since_version": since_version, "wait_seconds": wait_seconds}
        answer = await self._call("snapshot", params, deadline_seconds=wait_seconds + 5.0)
        return from_wire(Snapshot, answer, where="broker.snapshot")

    async def publish(self, report: Report) -> None:
        await self._call("publish", {"report": to_wire(report)})

    async def take_lease(self, expected_epoch: int, why: str) -> LeaseAnswer:
        return await self._lease("lease.take", {"expected_epoch": expected_epoch, "why": why})

    async def release_lease(self, why: str) -> LeaseAnswer:
        return await self._lease("lease.release", {"why": why})

    async def abandon_lease(self, why: str) -> LeaseAnswer:
        return await self._lease("lease.abandon", {"why": why})

    async def domain_definition(self, fallback: bool = False, why: str = "") -> DomainDefinition:
        params = {"fallback": True, "why": why} if fallback else {}
        answer = await self._call("definition.domain", params)
        return from_wire(DomainDefinition, answer, where="broker.definition.domain")

    async def _lease(self, method: str, params: Mapping[str, Any]) -> LeaseAnswer:
        answer = await self._call(method, params, deadline_seconds=self._lease_deadline_seconds)
        return from_wire(LeaseAnswer, answer, where=f"broker.{method}")

    async def _call(
        self, method: str, params: Mapping[str, Any], deadline_seconds: Optional[float] = None
    ) -> Any:
        try:
            return await self._client.call(method, params, deadline_seconds=deadline_seconds)
        except RpcCallFailed as error:
            raise BrokerRefused(error.code, f"broker, {method}: {error.message}") from error
