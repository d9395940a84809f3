# SPDX-License-Identifier: Apache-2.0
"""What a host puts into its VMs' definitions."""

from __future__ import annotations

from pathlib import Path

from ha_agent.vdsm.vm.host_identity import free_huge_pages, smbios_values


def test_names_and_serial(tmp_path: Path) -> None:
    assert set(smbios_values(tmp_path).values()) == {""}
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('NAME="Some Linux"\nVERSION_ID=9.4\n')
    (tmp_path / "sys/class/dmi/id").mkdir(parents=True)
    (tmp_path / "sys/class/dmi/id/product_uuid").write_text("ABCD-1\n")
    assert smbios_values(tmp_path) == {
        "OS-NAME:": "Some Linux",
        "OS-VERSION:": "9.4",
        "HOST-SERIAL:": "abcd-1",
    }


def test_huge_pages(tmp_path: Path) -> None:
    assert free_huge_pages(tmp_path) == {}
    for size, free in (("2048", "12"), ("1048576", "0")):
        folder = tmp_path / f"sys/kernel/mm/hugepages/hugepages-{size}kB"
        folder.mkdir(parents=True)
        (folder / "free_hugepages").write_text(free + "\n")
    assert free_huge_pages(tmp_path) == {2048: 12, 1048576: 0}
