# SPDX-License-Identifier: Apache-2.0
"""The format of scenarios, and its errors."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from ha_agent.errors import BadInput
from ha_agent.sim import scenario
from ha_agent.sim.faults import Fault

COMMANDS = """\
# a cluster that has everything
hosts 4
engine on h2
old h3 h4
seconds 300
boot-seconds 30
host-boot-seconds 90
seed 7
clock-spread 0.001
vm-lease-expiry-seconds 140
policy bad_health_grace_seconds 60
lease renew_interval_seconds 2

at 60 h1   power-off
at 75.5 cluster global-maintenance on for 20
expect engine up on h2 throughout
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "my-own"
    made.mkdir()
    (made / "README").write_text("Nothing happens: all is well.\n")
    (made / "commands").write_text(COMMANDS)
    return made


def test_a_folder_is_read(folder: Path) -> None:
    found = scenario.load(str(folder))
    assert (found.name, found.readme) == ("my-own", "Nothing happens: all is well.")
    spec = found.spec
    assert (spec.hosts, spec.engine_on, spec.old_hosts, spec.seed) == (4, 2, (3, 4), 7)
    assert (spec.seconds, spec.boot_seconds, spec.host_boot_seconds) == (300, 30, 90)
    assert (spec.clock_spread, spec.vm_lease_expiry_seconds) == (0.001, 140)
    assert spec.policy.bad_health_grace_seconds == 60
    assert spec.times.renew_interval_seconds == 2
    assert spec.faults == (
        Fault(60, "power-off", 1),
        Fault(75.5, "global-maintenance", 0, "on", 20),
    )
    assert [(item.text, item.where) for item in found.expectations] == [
        ("engine up on h2 throughout", f"{folder}/commands:16")
    ]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("speed 3", "'speed' is no setting"),
        ("hosts three", "'three' is not a number"),
        ("engine on host1", "'host1' is not a host"),
        ("lease-backend nfs", "'nfs' is none of lockfile, sanlock"),
        ("engine up", "'engine' is no setting"),
        ("policy grace 3", "'grace' is none of start_timeout_seconds, "),
        ("policy weights 3", "'weights' is none of"),
        ("lease renew_interval_seconds", "'' is not a number"),
        ("at 3 h1 explode", "unknown kind of fault 'explode'"),
        ("at 3 h9 power-off", "there are 4 hosts only"),
        ("at 3 h1 migrate-to h9 for 3", "there are 4 hosts only"),
        ("at 301 h1 power-off", "it ends at 300"),
        ("expect the best", "no expectation"),
    ],
)
def test_an_error_names_file_and_line(line: str, what: str) -> None:
    with pytest.raises(BadInput) as refused:
        scenario.parse(f"{COMMANDS}{line}\n", "x/commands")
    assert str(refused.value).startswith("x/commands:17: ")
    assert what in str(refused.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("hosts 3\n", "no line 'seconds ...'"),
        ("seconds 9\nhosts 0\n", "at least 1"),
        ("seconds 9\nold h2\nlease-backend sanlock\n", "old hosts are not simulated"),
        ("seconds 9\nengine on h4\n", "there are 3 hosts only"),
        ("seconds 9\nlease renew_interval_seconds 4\n", "must be less"),
    ],
)
def test_an_error_of_the_whole_names_the_file(text: str, what: str) -> None:
    with pytest.raises(BadInput, match=r"^x/commands: ") as refused:
        scenario.parse(text, "x/commands")
    assert what in str(refused.value)


def test_an_unknown_name_is_told_what_is_near() -> None:
    with pytest.raises(BadInput, match=r"^crash-hots: .*near it: crash-host"):
        scenario.load("crash-hots")


def test_a_readme_is_one_line(folder: Path) -> None:
    (folder / "README").write_text("one\ntwo\n")
    with pytest.raises(BadInput, match=r"README: one line"):
        scenario.load(str(folder))


def test_a_difference_is_a_unified_diff_and_update_ends_it(folder: Path) -> None:
    (folder / "expected.log").write_text("   1.00 h1 this\n")
    log = ("   1.00 h1 that",)
    diff = scenario.load(str(folder)).difference(log)
    assert "-   1.00 h1 this\n+   1.00 h1 that\n" in diff
    scenario.load(str(folder)).update(log)
    assert scenario.load(str(folder)).difference(log) == ""


def test_they_come_with_the_package() -> None:
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[2] / "setup.cfg")
    assert setup["options.package_data"]["ha_agent.sim"] == "scenarios/*/*"
