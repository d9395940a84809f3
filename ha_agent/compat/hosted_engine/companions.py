# SPDX-License-Identifier: Apache-2.0
"""The predecessor's two other commands that people and scripts call by name.

    ovirt-ha-agent --cleanup [--force-cleanup] [--host-id N]    hosted-engine --clean-metadata
    ovirt-ha-agent                                              becomes `ha-agent run`
    ovirt-ha-agent --version

    ovirt-hosted-engine-cleanup [-q] [option of leave ...]      becomes `ha-agent leave`

The predecessor's cleanup ended the engine VM, stopped sanlock, VDSM and libvirt, and removed
certificates and networks, whatever else ran on the host. `ha-agent leave` takes out what is ours,
and refuses while the engine VM is here; the rest is told, not done.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Optional

from ha_agent import __version__
from ha_agent.cli import streams
from ha_agent.compat.hosted_engine import cli
from ha_agent.compat.hosted_engine.command import DONE, FAILED, become_ha_agent, complain

_AGENT_USAGE = """\
Usage: ovirt-ha-agent [options]
    --cleanup        have all hosts forget a host, and end
    --force-cleanup  taken, but a host id in use stays in use
    --host-id N      which host is to be forgotten
    --version        print the version
"""
_CLEANUP_USAGE = """\
Usage: ovirt-hosted-engine-cleanup [-h] [-q] [--last] [--dry-run] [--no-units]
    -h  show this help text
    -q  do not ask
    Further options are those of `ha-agent leave`.
"""
_CAUTION = """\
This takes the host out of its hosted-engine cluster (`ha-agent leave`).
VDSM, libvirt, networks, certificates and firewall stay as they are.

Are you sure you want to proceed? [y/n]"""


def agent(argv: Optional[Sequence[str]] = None) -> int:
    """Entry point of `ovirt-ha-agent`."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "--help" in words or "-h" in words:
        print(_AGENT_USAGE, end="")
        return DONE
    if words == ["--version"]:
        print(f"ovirt-ha-agent (ha-agent {__version__})")
        return DONE
    if "--cleanup" in words:
        words.remove("--cleanup")
        return cli.main(["--clean-metadata", *words])
    if words:
        complain(f"Invalid option '{words[0]:.80}'")
        print(_AGENT_USAGE, end="")
        return FAILED
    return become_ha_agent("run")


def cleanup(argv: Optional[Sequence[str]] = None) -> int:
    """Entry point of `ovirt-hosted-engine-cleanup`."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "-h" in words or "--help" in words:
        print(_CLEANUP_USAGE, end="")
        return DONE
    streams.prepare()
    asks = "-q" not in words
    words = [word for word in words if word != "-q"]
    if asks:
        print(_CAUTION, flush=True)
        if sys.stdin.readline().strip() != "y":
            return complain("FATAL: nothing was changed")
    return become_ha_agent("leave", *words)
