# SPDX-License-Identifier: Apache-2.0
"""systemctl's answers, its failures, and its aliases, by a program that stands for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.errors import EnvironmentFault
from ha_agent.setup.services import Systemctl, parse_show

SHOW = """\
Id=ha-agent.service
LoadState=loaded
ActiveState=active
UnitFileState=enabled

Id=ovirt-ha-broker.service
LoadState=not-found
ActiveState=inactive
UnitFileState=
"""
NAMES = ("ovirt-ha-agent.service", "ovirt-ha-broker.service")


def program(folder: Path, body: str) -> str:
    path = folder / "systemctl"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_an_alias_is_another_unit_and_a_missing_one_is_none() -> None:
    alias, missing = parse_show(SHOW, NAMES).values()
    assert (alias.real_name, alias.is_other, alias.running) == ("ha-agent.service", True, True)
    assert "another name of ha-agent.service" in alias.text
    assert not missing.exists
    assert missing.text == "there is no ovirt-ha-broker.service"


def test_answers_that_are_not_about_all_names() -> None:
    with pytest.raises(EnvironmentFault, match="1 units told of, 2 asked about"):
        parse_show(SHOW.partition("\n\n")[0], NAMES)


@pytest.mark.parametrize(
    ("state", "running"),
    [("active", True), ("activating", True), ("deactivating", True), ("failed", False)],
)
def test_what_counts_as_running(state: str, running: bool) -> None:
    text = SHOW.partition("\n\n")[0].replace("=active", f"={state}")
    assert parse_show(text, NAMES[:1])[NAMES[0]].running is running


async def test_the_program_is_run_with_its_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    systemctl = Systemctl(program(tmp_path, f'echo "$@" >> {log}'))
    await systemctl.stop(["a.service"])
    await systemctl.disable(["a.service"])
    await systemctl.enable(["b.service", "c.service"])
    await systemctl.start(["b.service"])
    assert log.read_text().splitlines() == [
        "stop -- a.service",
        "disable -- a.service",
        "enable -- b.service c.service",
        "start -- b.service",
    ]


async def test_what_it_complains_of_is_told(tmp_path: Path) -> None:
    systemctl = Systemctl(program(tmp_path, "echo Unit is masked >&2; exit 1"))
    with pytest.raises(EnvironmentFault, match=r"start a\.service: Unit is masked"):
        await systemctl.start(["a.service"])


async def test_a_host_without_systemd(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="can't be run: No such file"):
        await Systemctl(str(tmp_path / "systemctl")).states(NAMES)
