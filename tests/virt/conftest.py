# SPDX-License-Identifier: Apache-2.0
"""What the tests of ha_agent/virt share: libvirt's cache about QEMU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.virt.private_libvirtd import give, libvirt_folder


@pytest.fixture(scope="session")
def cache() -> Iterator[Path]:
    with libvirt_folder() as folder:
        give(folder)
        yield folder
