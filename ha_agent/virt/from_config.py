# SPDX-License-Identifier: Apache-2.0
"""This host's libvirt as the configuration wants it: agent and broker have one each."""

from __future__ import annotations

import random
from typing import Callable

from ha_agent.clock import SystemClock
from ha_agent.config.schema import Config
from ha_agent.virt.binding import Libvirt
from ha_agent.virt.place import LeaseKind, VirtSettings
from ha_agent.virt.verbs import Virt


def virt(
    config: Config, clock: SystemClock, *, on_change: Callable[[], None] = lambda: None
) -> Virt:
    """Return what is not started yet. Raises EnvironmentFault where the binding is not there."""
    section = config.libvirt
    return Virt(
        Libvirt(),
        section.uri,
        VirtSettings(
            domain_paths=(config.storage.domain_path,),
            vm_lease=LeaseKind(section.vm_lease),
            accelerator=section.accelerator,
            networks=section.networks,
            host_id=config.host.id,
        ),
        clock=clock,
        uniform=random.random,
        call_deadline_seconds=section.call_deadline_seconds,
        keepalive_interval_seconds=section.keepalive_interval_seconds,
        storage_deadline_seconds=config.storage.io_deadline_seconds,
        on_change=on_change,
    )
