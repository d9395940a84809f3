# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ha_agent.errors import EnvironmentFault
from ha_agent.setup.services import OUR_UNITS, UnitState
from ha_agent.setup.start_units import StartUnits
from tests.setup.deploying import FakeServices


class NoSystemd(FakeServices):
    async def states(self, names: object) -> dict[str, UnitState]:
        raise EnvironmentFault(f"systemctl show {names}: no")


async def test_units_are_enabled_and_started_once() -> None:
    services = FakeServices(*OUR_UNITS)
    step = StartUnits(services, start=True)
    found = await step.look()
    assert not found.done
    assert "ha-agent.service does not run and is not enabled" in found.text
    await step.do(lambda _text: None)
    assert (await step.look()).done
    assert services.running == services.enabled == set(OUR_UNITS)


async def test_one_that_runs_and_is_not_enabled_is_not_done() -> None:
    services = FakeServices(*OUR_UNITS)
    services.running.update(OUR_UNITS)
    assert not (await StartUnits(services, start=True).look()).done


async def test_what_cant_be_done_here_is_left_to_the_operator() -> None:
    for services, start, text in (
        (NoSystemd(), True, "systemd does not answer"),
        (FakeServices(), True, "there is no ha-broker.socket"),
        (FakeServices(*OUR_UNITS), False, "by --no-start: run `systemctl enable --now"),
    ):
        found = await StartUnits(services, start=start).look()
        assert found.done
        assert "left to you, " in found.text
        assert text in found.text
