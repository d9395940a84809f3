# SPDX-License-Identifier: Apache-2.0
"""What QEMU says that it has, and the proof of an accelerator."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ha_agent.errors import EnvironmentFault
from ha_agent.vdsm.qemu.probe import choose_accelerator, proof_sector, prove, read_qemu

needs_qemu = pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs QEMU")


def fake_qemu(folder: Path, script: str) -> str:
    path = folder / "qemu"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


async def test_help_texts_are_read(tmp_path: Path) -> None:
    texts = {
        "machine": "Supported machines are:\npc      Standard PC (alias of pc-1)\nq35  Standard",
        "cpu": "Available CPUs:\nx86 max   Enables all\n\nRecognized CPUID flags:\n  vmx svm\n",
        "device": 'Network devices:\nname "e1000", bus PCI, desc "x"\nname "VGA", bus PCI\n',
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    qemu = await read_qemu(fake_qemu(tmp_path, f'cat "{tmp_path}/${{1#-}}"'))
    assert qemu.machines == {"pc", "q35"}
    assert qemu.cpu_models == {"max"}
    assert qemu.cpu_flags == {"vmx", "svm"}
    assert qemu.devices == {"e1000", "VGA"}


async def test_no_qemu_and_a_broken_one(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="is not installed"):
        await read_qemu(str(tmp_path / "none"))
    with pytest.raises(EnvironmentFault, match="library missing"):
        await read_qemu(fake_qemu(tmp_path, "echo library missing; exit 127"))


@pytest.mark.skipif(not os.path.exists("/dev/kvm"), reason="needs a /dev/kvm")
@pytest.mark.parametrize(
    ("script", "accelerator", "words"),
    [
        ("exit 33", "kvm", "ran a small guest"),
        ("exit 0", "tcg", "status 0"),
        ("echo no kvm here; exit 1", "tcg", "no kvm here"),
    ],
)
async def test_only_a_guest_that_ran_proves_kvm(
    tmp_path: Path, script: str, accelerator: str, words: str
) -> None:
    qemu = fake_qemu(tmp_path, f"echo once >> {tmp_path}/runs; {script}")
    chosen, reason = await choose_accelerator("auto", qemu, tmp_path)
    assert (chosen, words in reason) == (accelerator, True)
    again, reason = await choose_accelerator("auto", qemu, tmp_path)
    assert (again, reason.endswith("(tried before)")) == (accelerator, True)
    assert (tmp_path / "runs").read_text() == "once\n"
    (tmp_path / "accelerator.json").write_text("garbage")
    assert (await choose_accelerator("auto", qemu, tmp_path))[0] == accelerator


async def test_what_is_configured_is_taken(tmp_path: Path) -> None:
    assert await choose_accelerator("tcg", "/none", tmp_path) == ("tcg", "configured")
    assert await choose_accelerator("kvm", "/none", tmp_path) == ("kvm", "configured")


@pytest.mark.qemu
@needs_qemu
async def test_the_proof_runs_where_it_must(tmp_path: Path) -> None:
    assert (len(proof_sector()), proof_sector()[510:]) == (512, b"\x55\xaa")
    qemu = shutil.which("qemu-system-x86_64") or ""
    # What TCG runs KVM has to run too; a proof that TCG fails would prove nothing about KVM.
    assert await prove("tcg", qemu, tmp_path) == (True, "tcg ran a small guest")
    works, reason = await prove("none", qemu, tmp_path)
    assert not works
    assert "invalid accelerator none" in reason
    assert list(tmp_path.iterdir()) == []
