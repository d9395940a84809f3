# SPDX-License-Identifier: Apache-2.0
"""The machine's part of a definition."""

from __future__ import annotations

import pytest
from lxml import etree

from ha_agent.errors import BadInput
from ha_agent.vdsm.domain.model import NumaCell, Tuning
from ha_agent.vdsm.domain.tuning import read_tuning


def _read(inside: str) -> Tuning:
    return read_tuning(etree.fromstring(f"<domain>{inside}</domain>"))


def test_nothing_said() -> None:
    assert _read("") == Tuning()


def test_amounts_of_memory() -> None:
    tuning = _read(
        "<maxMemory slots='16' unit='GiB'>4</maxMemory>"
        "<memoryBacking><hugepages><page size='2' unit='M'/></hugepages></memoryBacking>"
        "<cpu><numa><cell id='0' cpus='0-1,3' memory='1048576'/>"
        "<cell cpus='2' memory='1' unit='GiB' memAccess='shared'/></numa></cpu>"
    )
    assert (tuning.max_memory_mib, tuning.memory_slots, tuning.huge_page_kib) == (4096, 16, 2048)
    assert tuning.cells == (NumaCell(0, "0-1,3", 1024), NumaCell(1, "2", 1024, is_shared=True))


@pytest.mark.parametrize(
    ("inside", "named"),
    [
        ("<cpu><numa><cell cpus='0,memdev=x' memory='1'/></numa></cpu>", "no set of CPUs"),
        ("<cpu><numa><cell memory='x'/></numa></cpu>", "memory of NUMA cell 0"),
        ("<iothreads>many</iothreads>", "iothreads"),
        ("<maxMemory unit='furlong'>1</maxMemory>", "maxMemory unit 'furlong'"),
        ("<clock adjustment='noon'/>", "clock adjustment"),
    ],
)
def test_what_is_wrong_is_named(inside: str, named: str) -> None:
    with pytest.raises(BadInput, match=named):
        _read(inside)


def test_smbios_only_where_the_firmware_is_to_have_it() -> None:
    info = "<sysinfo><system><entry name='serial'>HOST-SERIAL:</entry></system></sysinfo>"
    assert _read(info).smbios == ()
    assert _read(info + "<os><smbios mode='sysinfo'/></os>").smbios == (
        ("serial", "HOST-SERIAL:"),
    )
