# SPDX-License-Identifier: Apache-2.0
"""`hosted-engine --deploy`, `--check-deployed` and `--check-liveliness`.

--deploy becomes `ha-agent deploy`. Of the predecessor's options only `--config-append=FILE` has a
meaning there, as `--answers FILE`; the others are refused by name, since a set-up that passes
them over would not be the one that was asked for.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import Optional

from ha_agent.cli.ovf import printable
from ha_agent.clock import SystemClock
from ha_agent.compat.hosted_engine.command import (
    DONE,
    FAILED,
    HostedEngine,
    become_ha_agent,
    complain,
)
from ha_agent.config.layers import ConfigError
from ha_agent.errors import BadInput, EnvironmentFault, HaAgentError

BAD_CONFIGURATION = 2
LIVELINESS_SECONDS = 20.0
_WAIT_SECONDS = 2.0
_HEALTH_PATH = "/ovirt-engine/services/health"
_ADDRESSES = "addresses are what names resolve to; give an address in the answers"
_INSTEAD = {
    "--generate-answer": "`ha-agent deploy --answers-out FILE` writes what was answered",
    "--restore-from-file": (
        "restore the engine's backup inside the engine VM, with engine-backup; ha-agent only"
        " needs the VM's definition"
    ),
    "--4": _ADDRESSES,
    "--6": _ADDRESSES,
    "--ansible-extra-vars": "no ansible is run; give answers to `ha-agent deploy`",
}


def deploy(command: HostedEngine) -> int:
    """Run --deploy. Where it can, it does not return."""
    given = vars(command.arguments)
    refused = [
        f"{name} is not supported: {instead}"
        for name, instead in _INSTEAD.items()
        if given.get(name[2:].replace("-", "_"))
    ]
    if refused:
        return complain("\n".join(refused))
    answers = command.arguments.config_append
    words = ["deploy"]
    if answers is not None:
        if _is_of_the_predecessor(answers):
            return complain(
                f"{answers} is an answer file of ovirt-hosted-engine-setup, whose questions are"
                " not asked here; `ha-agent deploy --answers FILE` has its own"
            )
        words += ["--answers", answers]
    return become_ha_agent(*words, *command.arguments.rest)


def _is_of_the_predecessor(path: str) -> bool:
    """Whether it is otopi's format. What can't be read `ha-agent deploy` tells of.

    A pipe, as of `--config-append=<(...)`, can be read once only, and that is for deploy.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as stream:
            return any(line.startswith(b"[environment:") for line in stream.read(65536).split())
    except OSError:
        return False


def check_deployed(command: HostedEngine) -> int:
    """Run --check-deployed."""
    if command.vm_uuid:
        print("The hosted engine has been deployed")
        return DONE
    print("The hosted engine has not been deployed")
    return FAILED


def check_liveliness(command: HostedEngine) -> int:
    """Run --check-liveliness."""
    # Here, because asyncio would cost every other verb 50 ms.
    import asyncio

    from ha_agent.broker.probes.engine_health import parse_target, probe
    from ha_agent.broker.probes.names import Names

    try:
        url, ca_file = _health_page(command)
        target = parse_target(url)
    except HaAgentError as fault:
        complain(str(fault))
        return BAD_CONFIGURATION
    clock, arguments = SystemClock(), command.arguments
    ends_at = clock.now() + arguments.timeout
    while True:
        left_seconds = min(LIVELINESS_SECONDS, max(0.1, ends_at - clock.now()))
        try:
            result = asyncio.run(
                probe(
                    target,
                    deadline_seconds=left_seconds,
                    clock=clock,
                    names=Names(),
                    ca_file=ca_file,
                )
            )
        except EnvironmentFault as fault:
            return complain(str(fault))
        print(printable(result.detail), file=sys.stderr)
        if result.healthy:
            print("Hosted Engine is up!")
            return DONE
        if not arguments.wait or clock.now() >= ends_at:
            print("Hosted Engine is not up!")
            return FAILED
        clock.block(min(_WAIT_SECONDS, max(0.0, ends_at - clock.now())))


def _health_page(command: HostedEngine) -> tuple[str, Optional[str]]:
    """Return the page's address, and the file of its CA where there is one.

    A configuration that the daemons could not use may still name the engine. Raises HaAgentError
    where nothing does.
    """
    try:
        engine = command.settings.engine
    except ConfigError as fault:
        if command.conf is None:
            raise BadInput(f"Error reading the configuration file: {fault}") from fault
        fqdn = command.conf.values.get("fqdn", "")
        if not fqdn:
            what = "Incomplete configuration, missing FQDN of the hosted engine VM"
            raise BadInput(what, where=command.conf.where) from fault
        return f"http://{fqdn}{_HEALTH_PATH}", None
    ca_file = engine.health_ca_file
    return engine.health_url, None if ca_file is None else str(ca_file)
