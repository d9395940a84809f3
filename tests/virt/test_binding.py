# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys

import pytest

from ha_agent.errors import EnvironmentFault
from ha_agent.virt.binding import Libvirt
from ha_agent.virt.errors import LibvirtCode
from tests.virt.private_libvirtd import needs_libvirtd


def test_a_host_without_the_binding_is_told_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    with pytest.raises(EnvironmentFault, match="install the package python3-libvirt"):
        Libvirt()


@needs_libvirtd
def test_an_error_has_a_number_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    module = Libvirt()
    connection = module.open("test:///default")
    with pytest.raises(module.error) as refused:
        connection.lookupByUUIDString("44444444-4444-4444-8444-444444444444")
    assert module.code(refused.value) == LibvirtCode.NO_DOMAIN
    connection.close()
    assert capfd.readouterr().err == ""


@needs_libvirtd
def test_an_error_without_a_number_is_an_internal_one() -> None:
    assert Libvirt.code(ValueError()) == LibvirtCode.INTERNAL_ERROR
