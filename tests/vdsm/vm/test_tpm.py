# SPDX-License-Identifier: Apache-2.0
"""A VM with UEFI and TPM: swtpm begins with it and ends with it."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from ha_agent.vdsm.domain.document import parse_domain
from ha_agent.vdsm.vm import tpm as vm_tpm
from tests.vdsm.embedded import VM, Host, hosts, kill, make_domain, make_xml

TPM = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
OVMF = "/usr/share/OVMF/OVMF_CODE_4M.fd"
UEFI = (
    make_xml(devices=TPM)
    .replace("machine='pc'", "machine='q35'")
    .replace("hvm</type>", "hvm</type><loader type='pflash'>/no/such/OVMF_CODE.fd</loader>")
    .replace("32768", "131072")
)


def test_a_vm_without_tpm_has_no_socket(tmp_path: Path) -> None:
    assert vm_tpm.socket_for(parse_domain(make_xml()), tmp_path) == ""


def _swtpm_of(run_dir: Path) -> list[int]:
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
        if b"swtpm" in line and os.fsencode(run_dir) in line and b"qemu" not in line:
            found.append(int(name))
    return found


@pytest.mark.qemu
@pytest.mark.skipif(
    not (shutil.which("qemu-system-x86_64") and shutil.which("swtpm") and os.path.exists(OVMF)),
    reason="needs QEMU, swtpm and OVMF",
)
async def test_swtpm_lives_as_long_as_its_vm(tmp_path: Path) -> None:
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(UEFI)
        await client.event("Powering up")
        [pid] = _swtpm_of(host.run_dir)
        assert (host.run_dir / VM / "nvram.fd").exists()
        # It is not ours to lose: both live through our restart.
        await host.stop()
        assert _swtpm_of(host.run_dir) == [pid]
        descriptor = os.pidfd_open(pid)
        try:
            kill(host_pid := host.pid())
            assert host_pid != pid
            ended = asyncio.Event()
            asyncio.get_running_loop().add_reader(descriptor, ended.set)
            await ended.wait()
            asyncio.get_running_loop().remove_reader(descriptor)
        finally:
            os.close(descriptor)
