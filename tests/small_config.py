# SPDX-License-Identifier: Apache-2.0
"""The least that a configuration must say, in a folder; no storage and no VDSM behind it."""

from __future__ import annotations

from pathlib import Path

NOWHERE = {"HA_AGENT_HOST_ROOT": "/nonexistent"}
"""An environment in which the configuration is what a test writes: the machine that the tests run
on may be a host of a hosted engine, whose files would be layers of it."""

VM = "00000000-0000-4000-8000-000000000001"


def write_config(folder: Path, more: str = "") -> Path:
    """Write `folder`/ha-agent.conf and return its path."""
    path = folder / "ha-agent.conf"
    path.write_text(
        f"""\
[host]
id = 1
name = alpha
run_dir = {folder}/run
state_dir = {folder}/state
[engine]
vm_uuid = {VM}
health_url = http://127.0.0.1:1/ovirt-engine/services/health
[storage]
domain_uuid = 00000000-0000-4000-8000-000000000002
domain_path = {folder}/00000000-0000-4000-8000-000000000002
domain_type = localfs
status_image = 00000000-0000-4000-8000-000000000003
status_volume = 00000000-0000-4000-8000-000000000004
[definition]
vm_conf_path = {folder}/run/vm.conf
[vdsm]
host = 127.0.0.1
port = 1
ssl = false
{more}"""
    )
    return path
