# SPDX-License-Identifier: Apache-2.0
"""How many VMs run on this host besides the engine VM, as VDSM tells.

Host.getVMList and not Host.getStats' vmActive: that one counts the engine VM, too, and where it
is has to be asked in a second call, which may see another moment.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from typing import Callable, Optional

from ha_agent.errors import EnvironmentFault
from ha_agent.vdsm.vm_status import VmStats, VmStatus

log = logging.getLogger(__name__)


async def other_vms(
    vm_list: Callable[[], Awaitable[Sequence[VmStats]]], vm_uuid: str
) -> Optional[int]:
    """Ask VDSM; None when it does not answer. A Down record is no VM that runs.

    `vm_list` is Vdsm.vm_list: it has a deadline, and raises EnvironmentFault.
    """
    try:
        vms = await vm_list()
    except EnvironmentFault as fault:
        log.info("how many other VMs run here is not known: %s", fault)
        return None
    return sum(1 for vm in vms if vm.vm_id != vm_uuid and vm.status is not VmStatus.DOWN)
