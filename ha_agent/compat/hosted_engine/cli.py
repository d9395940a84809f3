# SPDX-License-Identifier: Apache-2.0
"""`hosted-engine`: the predecessor's command, over our broker.

    exit code   when
    0           done; of --console, --deploy: that program's
    1           not done, refused, or no such verb or option; not deployed
    2           --vm-status: a deployment is under way or failed; --check-liveliness: it is not
                known where the engine is
    254, 255    --clean-metadata: the broker does not answer; this host is not configured

Every question has one deadline, --timeout. Sentences that scripts look for are on stdout where
the predecessor had them there; all others are on stderr. With --json stdout is JSON always.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Optional

from ha_agent.broker.rpc.call import RpcCallFailed
from ha_agent.cli import streams
from ha_agent.compat.hosted_engine import help_text
from ha_agent.compat.hosted_engine.arguments import read_arguments
from ha_agent.compat.hosted_engine.command import (
    DONE,
    FAILED,
    NO_DAEMON,
    NOT_DEPLOYED,
    UNREACHABLE,
    HostedEngine,
    complain,
)
from ha_agent.compat.hosted_engine.declare import Verb
from ha_agent.compat.hosted_engine.verbs import BY_NAME, VERBS
from ha_agent.config.layers import ConfigError
from ha_agent.errors import BadInput, HaAgentError


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Entry point of `hosted-engine`."""
    words = list(sys.argv[1:] if argv is None else argv)
    return streams.run(lambda: _perform(words), FAILED)


def _perform(words: list[str]) -> int:
    try:
        return _run(words, os.environ)
    except KeyboardInterrupt:
        return _tell("--json" in words, "interrupted", "interrupted")


def _run(words: list[str], environ: Mapping[str, str]) -> int:
    if not words:
        print(help_text.usage(VERBS))
        return FAILED
    if words[0] == "--help":
        words = [*words[1:2], "--help"]
        if len(words) == 1:
            print(help_text.usage(VERBS))
            return DONE
    name, rest = words[0], words[1:]
    # A verb without its dashes is understood after --help.
    verb = BY_NAME.get(name) or (BY_NAME.get(f"--{name}") if rest == ["--help"] else None)
    if verb is None:
        # What follows "=" may be a password.
        fault = f"Invalid option '{name.partition('=')[0]:.80}'"
        if "--json" in rest:
            return _tell(True, "usage", fault)
        complain(fault)
        print(help_text.usage(VERBS))
        return FAILED
    if "--help" in rest:
        print(help_text.verb_help(verb))
        return DONE
    return _run_verb(verb, rest, environ)


def _run_verb(verb: Verb, words: list[str], environ: Mapping[str, str]) -> int:
    as_json = "--json" in words
    try:
        command = HostedEngine(read_arguments(verb, words), environ)
    except BadInput as fault:
        return _tell(as_json, "usage", f"{fault}\nhosted-engine {verb.name} --help tells more")
    try:
        if verb.only_deployed and not command.vm_uuid:
            print(NOT_DEPLOYED)
            return FAILED
        return verb.run(command)
    except UNREACHABLE as fault:
        return _tell(as_json, "unreachable", f"{NO_DAEMON}\n{fault}")
    except RpcCallFailed as fault:
        return _tell(as_json, fault.code, fault.message)
    except ConfigError as fault:
        return _tell(as_json, "config", str(fault))
    except HaAgentError as fault:
        return _tell(as_json, "failed", str(fault))


def _tell(as_json: bool, code: str, message: str) -> int:
    if as_json:
        print(json.dumps({"error": {"code": code, "message": message}}))
    return complain(message)


if __name__ == "__main__":
    sys.exit(main())
