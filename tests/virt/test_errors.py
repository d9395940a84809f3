# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ha_agent.errors import EnvironmentFault
from ha_agent.virt import errors


def test_each_says_whether_it_may_have_been_carried_out() -> None:
    lost = errors.LibvirtConnectionLost("qemu:///system", "gone", may_have_executed=True)
    assert lost.may_have_executed
    assert not errors.LibvirtUnreachable("qemu:///system", "refused").may_have_executed
    refused = errors.LibvirtCallFailed("start the VM", 55, "already active")
    assert not refused.may_have_executed
    assert str(refused) == "libvirt refused to start the VM: already active (code 55)"
    assert isinstance(refused, EnvironmentFault)
