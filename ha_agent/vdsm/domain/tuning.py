# SPDX-License-Identifier: Apache-2.0
"""The parts of a domain document that are about the machine, not about its devices. No I/O."""

from __future__ import annotations

import re
from typing import Optional

from lxml import etree

from ha_agent.errors import BadInput
from ha_agent.vdsm.domain.model import NumaCell, Tuning

_WHERE = "domain XML"
_KIB_OF_UNIT = {"": 1, "k": 1, "kib": 1, "m": 1024, "mib": 1024, "g": 1024**2, "gib": 1024**2}
_CPUS = re.compile(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*", re.ASCII)
_MAX_CELLS = 128


def integer(text: Optional[str], what: str, low: int, high: int) -> int:
    """Read a number within bounds. Raises BadInput that names `what`."""
    try:
        value = int(text or "", 16 if (text or "").lower().startswith("0x") else 10)
    except ValueError:
        raise BadInput(f"{what}: {(text or '')[:40]!r} is no number", where=_WHERE) from None
    if not low <= value <= high:
        raise BadInput(f"{what}: {value} is not within {low} and {high}", where=_WHERE)
    return value


def size_kib(text: Optional[str], unit: Optional[str], what: str) -> int:
    """Read an amount of memory. Raises BadInput."""
    unit = (unit or "").lower()
    if unit not in _KIB_OF_UNIT:
        raise BadInput(f"{what} unit {unit[:20]!r} is unknown", where=_WHERE)
    return integer((text or "").strip(), what, 1, 2**40) * _KIB_OF_UNIT[unit]


def read_tuning(root: etree._Element) -> Tuning:
    """Read them. Raises BadInput that names the element."""
    maximum = root.find("maxMemory")
    page = root.find("memoryBacking/hugepages/page")
    clock = root.find("clock")
    now = root.find("currentMemory")
    features = root.find("features")
    threads = root.findtext("iothreads")
    delay_ms = _attribute(root, "os/bootmenu", "timeout")
    adjustment = "0" if clock is None else clock.get("adjustment") or "0"
    return Tuning(
        max_memory_mib=(
            0
            if maximum is None
            else size_kib(maximum.text, maximum.get("unit"), "maxMemory") // 1024
        ),
        memory_slots=integer(_attribute(root, "maxMemory", "slots") or "0", "slots", 0, 256),
        huge_page_kib=(
            0 if page is None else size_kib(page.get("size"), page.get("unit"), "huge page")
        ),
        cells=_cells(root),
        io_threads=integer(threads.strip(), "iothreads", 0, 256) if threads else 0,
        pinned_cpus=tuple(
            (pin.get("vcpu") or "", pin.get("cpuset") or "")
            for pin in root.findall("cputune/vcpupin")
        ),
        memory_now_mib=(
            0
            if now is None
            else max(1, size_kib(now.text, now.get("unit"), "currentMemory") // 1024)
        ),
        smbios=_smbios(root),
        clock_seconds=integer(adjustment, "clock adjustment", -(2**31), 2**31),
        timers=tuple(
            (timer.get("name") or "", timer.get("tickpolicy") or "", timer.get("present") or "")
            for timer in root.findall("clock/timer")
        ),
        # Without <features> nothing is said about ACPI.
        has_acpi=features is None or features.find("acpi") is not None,
        has_smm=_attribute(root, "features/smm", "state") == "on",
        no_sleep=tuple(
            name
            for name in ("mem", "disk")
            if _attribute(root, f"pm/suspend-to-{name}", "enabled") == "no"
        ),
        kernel=(root.findtext("os/kernel") or "").strip(),
        initrd=(root.findtext("os/initrd") or "").strip(),
        kernel_arguments=(root.findtext("os/cmdline") or "").strip(),
        boot_menu_ms=integer(delay_ms, "bootmenu timeout", 0, 65535) if delay_ms else 0,
        has_serial_bios=_attribute(root, "os/bios", "useserial") == "yes",
    )


def _attribute(element: etree._Element, path: str, name: str) -> str:
    child = element.find(path)
    return "" if child is None else child.get(name) or ""


def _cells(root: etree._Element) -> tuple[NumaCell, ...]:
    found = root.findall("cpu/numa/cell")
    if len(found) > _MAX_CELLS:
        raise BadInput(f"more than {_MAX_CELLS} NUMA cells", where=_WHERE)
    cells = []
    for number, cell in enumerate(found):
        cpus = (cell.get("cpus") or "").replace(" ", "")
        if cpus and not _CPUS.fullmatch(cpus):
            raise BadInput(f"NUMA cell {number}: {cpus[:40]!r} is no set of CPUs", where=_WHERE)
        kib = size_kib(cell.get("memory"), cell.get("unit"), f"memory of NUMA cell {number}")
        cell_id = integer(cell.get("id") or str(number), "NUMA cell", 0, _MAX_CELLS - 1)
        is_shared = cell.get("memAccess") == "shared"
        cells.append(NumaCell(cell_id, cpus, max(1, kib // 1024), is_shared))
    return tuple(cells)


def _smbios(root: etree._Element) -> tuple[tuple[str, str], ...]:
    if _attribute(root, "os/smbios", "mode") != "sysinfo":
        return ()
    return tuple(
        (entry.get("name") or "", (entry.text or "").strip())
        for entry in root.findall("sysinfo/system/entry")
    )
