# SPDX-License-Identifier: Apache-2.0
"""Machine, memory and CPUs on QEMU's command line."""

from __future__ import annotations

from tests.vdsm.command_line import build, values
from tests.vdsm.embedded import make_xml


def _with(inside: str, **placement: object) -> str:
    return make_xml().replace("<devices>", f"{inside}<devices>", 1)


CELLS = (
    "<cpu><numa><cell id='0' cpus='0' memory='16384'/><cell id='1' memory='16384'/></numa></cpu>"
)
PAGES = "<memoryBacking><hugepages><page size='2048'/></hugepages></memoryBacking>"


def test_numa_cells() -> None:
    command = build(_with(CELLS))
    assert values(command, "-numa") == [
        "node,nodeid=0,cpus=0,memdev=ram0",
        "node,nodeid=1,memdev=ram1",
    ]
    odd = build(_with(CELLS.replace("16384'/><", "8192'/><")))
    assert values(odd, "-numa") == []
    assert any("2 NUMA cells are merged" in note for note in odd.notes)


def test_huge_pages_where_the_host_has_them() -> None:
    command = build(_with(PAGES), free_huge_pages={2048: 16})
    assert any("hugetlb=on,hugetlbsize=2048K" in value for value in values(command, "-object"))
    assert values(command, "-machine")[0].endswith(",memory-backend=ram")
    few = build(_with(PAGES), free_huge_pages={2048: 15})
    assert values(few, "-object") == []
    assert any("too few free ones of 2048 KiB" in note for note in few.notes)


def test_memory_that_may_be_plugged() -> None:
    command = build(_with("<maxMemory slots='16'>65536</maxMemory>"))
    assert values(command, "-m") == ["size=32M,slots=16,maxmem=64M"]


def test_smbios_with_the_hosts_own_words() -> None:
    xml = make_xml().replace("hvm</type>", "hvm</type><smbios mode='sysinfo'/>")
    info = (
        "<sysinfo type='smbios'><system><entry name='product'>OS-NAME:</entry>"
        "<entry name='serial'>HOST-SERIAL:</entry><entry name='family'>a,b</entry>"
        "</system></sysinfo>"
    )
    xml = xml.replace("<devices>", info + "<devices>", 1)
    command = build(xml, smbios={"OS-NAME:": "Some Linux", "HOST-SERIAL:": ""})
    assert values(command, "-smbios") == ["type=1,product=Some Linux,family=a,,b"]


def test_clock_and_sleep() -> None:
    inside = (
        "<clock adjustment='3600'><timer name='rtc' tickpolicy='delay'/>"
        "<timer name='hpet' present='no'/></clock>"
        "<pm><suspend-to-mem enabled='no'/></pm><features/>"
    )
    command = build(_with(inside))
    assert values(command, "-rtc") == ["base=utc"]
    assert values(command, "-global") == ["PIIX4_PM.disable_s3=1"]
    assert {"acpi=off", "hpet=off"} <= set(values(command, "-machine")[0].split(","))
    assert any("3600 s" in note for note in command.notes)


def test_a_kernel_of_the_host() -> None:
    os = "hvm</type><kernel>/boot/k</kernel><initrd>/boot/i</initrd><cmdline>quiet a,b</cmdline>"
    command = build(make_xml().replace("hvm</type>", os))
    assert (values(command, "-kernel"), values(command, "-initrd")) == (["/boot/k"], ["/boot/i"])
    assert values(command, "-append") == ["quiet a,b"]
