# SPDX-License-Identifier: Apache-2.0
"""`hosted-engine --vm-status`: byte for byte, and as each of its readers reads it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ha_agent.broker.snapshot import to_wire
from tests.compat.hosted_engine.running import (
    EXTRA,
    FIRST,
    GONE,
    NOW,
    PICTURE,
    SECOND,
    UP,
    deployed,
    environment,
    hosted_engine,
    refusal,
    shows,
)
from tests.fake_broker import FakeBroker, error_in

FIRST_TEXT = """\


--== Host h1.example.com (id: 1) status ==--

Host ID                            : 1
Host timestamp                     : 4262
Score                              : 3400
Engine status                      : {"vm": "up", "health": "good", "detail": "Up"}
Hostname                           : h1.example.com
Local maintenance                  : False
stopped                            : False
crc32                              : 8b9b1f7e
conf_on_shared_storage             : True
local_conf_timestamp               : 4262
Status up-to-date                  : True
Extra metadata (valid at timestamp):
\tmetadata_parse_version=1
\tmetadata_feature_version=1
\ttimestamp=4262 (Sat Jan 16 11:58:40 2021)
\thost-id=1
\tscore=3400
\tvm_conf_refresh_time=4262 (Sat Jan 16 11:58:40 2021)
\tconf_on_shared_storage=True
\tmaintenance=False
\tstate=EngineUp
\tstopped=False
"""
BANNER = "\n\n!! Cluster is in GLOBAL MAINTENANCE mode !!\n\n"
FIRST_JSON = (
    '{"1": {"host-id": 1, "host-ts": 4262, "score": 3400, "engine-status": '
    '{"vm": "up", "health": "good", "detail": "Up"}, "hostname": "h1.example.com", '
    '"maintenance": false, "stopped": false, "crc32": "8b9b1f7e", '
    '"conf_on_shared_storage": true, "local_conf_timestamp": 4262, "extra": '
    f"{json.dumps(EXTRA)}, "
    '"live-data": true}, "global_maintenance": false}\n'
)
UNREACHABLE = [
    "Cannot connect to the HA daemon, please check the logs.",
    "An error occured while retrieving vm status, please make sure the HA daemon is ready and"
    " reachable.",
    "Unable to connect the HA Broker ",
]


@pytest.fixture
def host(folder: Path, broker: FakeBroker) -> Path:
    deployed(folder)
    shows(broker, PICTURE)
    return folder


def as_json(folder: Path, *more: str) -> dict[str, Any]:
    done = hosted_engine(folder, "--vm-status", "--json", *more)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def test_the_text_byte_for_byte(host: Path, broker: FakeBroker) -> None:
    shows(broker, replace(PICTURE, hosts=(FIRST,)))
    done = hosted_engine(host, "--vm-status")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == FIRST_TEXT


def test_the_text_under_global_maintenance(host: Path, broker: FakeBroker) -> None:
    shows(broker, replace(PICTURE, hosts=(FIRST,), global_maintenance=True))
    assert hosted_engine(host, "--vm-status").stdout == BANNER + FIRST_TEXT + BANNER


def test_the_text_of_a_host_without_fresh_data(host: Path, broker: FakeBroker) -> None:
    shows(broker, replace(PICTURE, hosts=(FIRST, replace(SECOND, alive=False))))
    lines = hosted_engine(host, "--vm-status").stdout.splitlines()
    assert lines.count("Engine status                      : unknown stale-data") == 1
    assert lines.count("Status up-to-date                  : False") == 1
    assert lines.count("--== Host h2.example.com (id: 2) status ==--") == 1


def test_the_json_byte_for_byte(host: Path, broker: FakeBroker) -> None:
    shows(broker, replace(PICTURE, hosts=(FIRST,)))
    done = hosted_engine(host, "--vm-status", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == FIRST_JSON


# The cases of facts 2.4.


def test_without_a_broker(folder: Path) -> None:
    deployed(folder)
    done = hosted_engine(folder, "--vm-status")
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.split("\n")
    assert "there is no such socket" in lines[0]
    assert lines[1:] == [*UNREACHABLE, ""]
    done = hosted_engine(folder, "--vm-status", "--json")
    assert done.returncode == 1
    assert error_in(done.stdout)["code"] == "unreachable"


def test_a_broker_that_hangs(host: Path, broker: FakeBroker) -> None:
    broker.answers = {}
    done = hosted_engine(host, "--vm-status", "--timeout", "0.5")
    assert (done.returncode, done.stderr.split("\n")[1:]) == (1, [*UNREACHABLE, ""])
    done = hosted_engine(host, "--vm-status", "--json", "--timeout=0.5")
    assert done.returncode == 1
    assert "no answer within 0.5 s" in error_in(done.stdout)["message"]


def test_a_broker_that_refuses(host: Path, broker: FakeBroker) -> None:
    broker.answers["status"] = refusal("you may not", "denied")
    done = hosted_engine(host, "--vm-status", "--json")
    assert (done.returncode, error_in(done.stdout)) == (
        1,
        {"code": "denied", "message": "you may not"},
    )


def test_no_host_records(host: Path, broker: FakeBroker) -> None:
    never = replace(FIRST, changed_at=None)
    shows(broker, replace(PICTURE, hosts=(never,)))
    done = hosted_engine(host, "--vm-status")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "no host has written a status record yet\n"
    assert as_json(host) == {"global_maintenance": False}


def test_a_record_without_an_engine_status(host: Path, broker: FakeBroker) -> None:
    shows(broker, replace(PICTURE, hosts=(replace(FIRST, engine_status={}),)))
    done = hosted_engine(host, "--vm-status")
    assert (done.returncode, "Engine status                      : None\n" in done.stdout) == (
        0,
        True,
    )
    assert as_json(host)["1"]["engine-status"] == {
        "vm": "unknown",
        "health": "unknown",
        "detail": "unknown",
        "reason": "this host does not tell",
    }


def test_a_definition_that_is_not_there_yet_is_no_reason_to_wait(
    host: Path, broker: FakeBroker
) -> None:
    none = replace(PICTURE.definition, available=False)
    shows(broker, replace(PICTURE, hosts=(FIRST,), definition=none))
    assert hosted_engine(host, "--vm-status").stdout == FIRST_TEXT


def test_not_deployed(short_path: Path) -> None:
    done = hosted_engine(short_path, "--vm-status")
    assert (done.returncode, done.stdout) == (1, "You must run deploy first\n")
    done = hosted_engine(short_path, "--vm-status", "--json")
    assert (done.returncode, error_in(done.stdout)["code"]) == (1, "not_deployed")


def test_half_deployed(short_path: Path) -> None:
    """virsh knows the VM that set-up runs locally while it deploys."""
    virsh = short_path / "virsh"
    virsh.write_text('#!/bin/sh\n[ "$*" = "-r domstate HostedEngineLocal" ]\n')
    virsh.chmod(0o755)
    path = {"PATH": f"{short_path}:/usr/bin:/bin"}
    done = hosted_engine(short_path, "--vm-status", more=path)
    assert done.returncode == 2
    assert done.stdout.startswith(
        "It seems like a previous attempt to deploy hosted-engine failed"
    )
    done = hosted_engine(short_path, "--vm-status", "--json", more=path)
    assert (done.returncode, error_in(done.stdout)["code"]) == (2, "deploying")


def test_a_configuration_that_is_wrong(host: Path) -> None:
    (host / "ha-agent.conf").write_text("[nonsense]\n")
    done = hosted_engine(host, "--vm-status", "--json")
    assert (done.returncode, error_in(done.stdout)["code"]) == (1, "config")


# As its readers read it: facts 2.5.


def test_the_system_tests_of_ovirt(host: Path) -> None:
    """he_utils.he_status: global_maintenance, digit keys, each line of extra cut at one "="."""
    status = as_json(host)
    assert status["global_maintenance"] is False
    hosts = {key: value for key, value in status.items() if key.isdigit()}
    assert set(hosts) == {"1", "2"}
    for value in hosts.values():
        pairs = [line.split("=") for line in value["extra"].splitlines()]
        extra = dict(pairs)
        assert extra["state"].startswith("Engine")
        assert isinstance(value["hostname"], str)
        assert {"vm", "health"} <= set(value["engine-status"])


def test_a_line_of_extra_that_they_could_not_split(host: Path, broker: FakeBroker) -> None:
    odd = "state=EngineUp\nreason=a=b, c=d\nnothing\na\x0bb\nc=\x85d\n"
    shows(broker, replace(PICTURE, hosts=(replace(FIRST, extra=odd),)))
    extra = as_json(host)["1"]["extra"]
    assert extra == "state=EngineUp\nreason=a:b, c:d\nc=\n"
    assert all(line.count("=") == 1 for line in extra.splitlines())


def test_set_up_by_ansible(host: Path, broker: FakeBroker) -> None:
    """json_query('*."engine-status"."health"')|first=="good", and detail=="Up".

    The star takes the values of an object in their order, those that have the rest.
    """
    away = replace(SECOND, engine_status=UP)
    dead = replace(FIRST, alive=False)
    shows(broker, replace(PICTURE, hosts=(dead, away)))
    for key, wanted in (("health", "good"), ("detail", "Up")):
        values = [v for v in as_json(host).values() if isinstance(v, dict)]
        assert next(v["engine-status"][key] for v in values) == wanted


def test_cockpit(host: Path, broker: FakeBroker) -> None:
    """It ignores live-data, and calls toString() on stopped and maintenance of each host."""
    shows(broker, replace(PICTURE, hosts=(FIRST, replace(SECOND, engine_status=UP, alive=False))))
    status = as_json(host)
    del status["global_maintenance"]
    for value in status.values():
        assert isinstance(value["stopped"], bool)
        assert isinstance(value["maintenance"], bool)
    running = [v["hostname"] for v in status.values() if v["engine-status"]["vm"] == "up"]
    assert running == ["h1.example.com"]
    assert status["2"]["engine-status"]["reason"] == "stale-data, last known: up"


def test_runbooks(host: Path, broker: FakeBroker) -> None:
    """--vm-status | egrep -i "engine status|hostname|cluster"."""
    shows(broker, replace(PICTURE, hosts=(FIRST, SECOND), global_maintenance=True))
    text = hosted_engine(host, "--vm-status").stdout
    found = subprocess.run(
        ["grep", "-Ei", "engine status|hostname|cluster"],
        input=text,
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    ).stdout.splitlines()
    assert found == [
        "!! Cluster is in GLOBAL MAINTENANCE mode !!",
        'Engine status                      : {"vm": "up", "health": "good", "detail": "Up"}',
        "Hostname                           : h1.example.com",
        f"Engine status                      : {json.dumps(GONE)}",
        "Hostname                           : h2.example.com",
        "!! Cluster is in GLOBAL MAINTENANCE mode !!",
    ]


def test_qe_strips_what_changes(host: Path, broker: FakeBroker) -> None:
    """Two hosts say the same once timestamps, CRC and dates are taken out."""
    first = hosted_engine(host, "--vm-status").stdout
    shows(broker, replace(PICTURE, hosts=(replace(FIRST, timestamp_seconds=9, crc32="0"), SECOND)))
    second = hosted_engine(host, "--vm-status").stdout

    def stripped(text: str) -> list[str]:
        words = ("timestamp", "crc32", "refresh_time", "timeout")
        return [line for line in text.splitlines() if not any(word in line for word in words)]

    assert stripped(first) == stripped(second)
    assert first != second


# What is new.


def test_what_others_wrote_can_not_steer_a_terminal(host: Path, broker: FakeBroker) -> None:
    wild = replace(FIRST, host_name="a\x1b[2Jb", extra="state=\x1b]0;x\n")
    shows(broker, replace(PICTURE, hosts=(wild,)))
    for words in ((), ("--json",)):
        assert "\x1b" not in hosted_engine(host, "--vm-status", *words).stdout


def test_wait_ends_when_the_engine_is_up(host: Path, broker: FakeBroker) -> None:
    starting = replace(FIRST, engine_status=GONE)
    pictures = [replace(PICTURE, hosts=(starting,)), replace(PICTURE, version=2)]

    def answer(_params: Any) -> tuple[None, Any]:
        return None, to_wire(pictures.pop(0) if len(pictures) > 1 else pictures[0])

    broker.answers["status"] = answer
    done = hosted_engine(host, "--vm-status", "--wait", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["1"]["engine-status"]["health"] == "good"
    waits = [params["since_version"] for _, params in broker.asked]
    assert waits == [-1, 1]


def test_wait_has_an_end(host: Path, broker: FakeBroker) -> None:
    shows(broker, replace(PICTURE, hosts=(SECOND,)))
    done = hosted_engine(host, "--vm-status", "--wait", "--json", "--timeout=0.3")
    assert (done.returncode, list(json.loads(done.stdout))) == (1, ["2", "global_maintenance"])
    assert done.stderr == "the engine is not up within 0.3 s\n"


def test_watch_prints_each_picture_until_the_broker_ends(host: Path, broker: FakeBroker) -> None:
    broker.answers["watch"] = (None, True)  # and then it closes
    done = hosted_engine(host, "--vm-status", "--watch", "--json")
    assert (done.returncode, error_in(done.stdout)["code"]) == (1, "unreachable")


def test_a_reader_that_goes_away(host: Path) -> None:
    command = [sys.executable, "-m", "ha_agent.compat.hosted_engine.cli", "--vm-status"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(host)
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
        assert process.wait(60) in (0, 1)


def test_unknown_times_do_not_hurt(host: Path, broker: FakeBroker) -> None:
    shows(broker, replace(PICTURE, hosts=(replace(FIRST, changed_at=NOW - 9999, extra=""),)))
    entry = as_json(host)["1"]
    assert "extra" not in entry
    assert list(entry)[-1] == "live-data"
