# SPDX-License-Identifier: Apache-2.0
"""Budgets follow from the configuration."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ha_agent.config import layers
from ha_agent.config.schema import Config
from lab.budgets import BOOTS_AS_LONG, Budget, Budgets, budgets_of
from tests.small_config import write_config


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return layers.load([write_config(tmp_path)], {layers.ROOT_VARIABLE: str(tmp_path)})


def with_lease(config: Config, **changes: object) -> Config:
    lease = dataclasses.replace(config.lease, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(config, lease=lease)


def test_what_is_not_told_is_the_shipped_configuration(config: Config) -> None:
    assert budgets_of(config) == Budgets()


def test_a_longer_lease_costs_so_much_more(config: Config) -> None:
    longer = budgets_of(with_lease(config, lease_expiry_seconds=40.0))
    assert longer.takeover().gone_seconds == Budgets().takeover().gone_seconds + 25.0
    assert longer.fence_seconds == 36.0


def test_sanlock_has_its_own_times(config: Config) -> None:
    budgets = budgets_of(with_lease(config, backend="sanlock"))
    assert (budgets.dead_seconds, budgets.renew_seconds) == (140.0, 20.0)
    assert budgets.fence_seconds == 60.0


def test_a_vm_that_runs_on_has_no_time_without_one(config: Config) -> None:
    budget = budgets_of(config).untouched()
    assert not budget.moves
    assert budget.page_seconds(boot_seconds=30.0) == 7.0


def test_the_page_has_all_of_it_and_the_boot() -> None:
    budget = Budget(bad_seconds=5.0, gone_seconds=16.0, why="")
    assert budget.page_seconds(boot_seconds=8.0) == 5.0 + 16.0 + BOOTS_AS_LONG * 8.0


def test_each_restart_on_a_host_waits_longer_then_another_has_it() -> None:
    gone = [Budgets().restart(ended).gone_seconds for ended in range(6)]
    assert gone[0] < gone[1] < gone[2] < gone[3]
    assert gone[4] == gone[5] == Budgets().take_seconds + Budgets().refused_seconds


def test_a_fence_leaves_others_the_rest_of_the_lease() -> None:
    budgets = Budgets()
    assert budgets.fenced_until(60.0).gone_seconds > 60.0


def test_a_cut_off_owner_is_found_out_after_some_network_tests(config: Config) -> None:
    network = dataclasses.replace(config.network, interval_seconds=20.0)
    slower = budgets_of(dataclasses.replace(config, network=network)).cut_off()
    assert slower.moves
    assert slower.bad_seconds == Budgets().cut_off().bad_seconds + 40.0


def test_every_budget_says_why() -> None:
    budgets = Budgets()
    made = [
        *(budgets.untouched(), budgets.takeover(), budgets.fenced()),
        *(budgets.fenced_until(30.0), budgets.restart(), budgets.reboot(), budgets.hung()),
        *(budgets.handed_over(), budgets.suspended(22.5), budgets.unplugged(30.0)),
        budgets.cut_off(),
        *(budgets.held_down(30.0), budgets.booted(20.0)),
    ]
    assert all(budget.why for budget in made)
    assert all(budget.page_seconds(5.0) > 0 for budget in made)
