# SPDX-License-Identifier: Apache-2.0
"""Orders to a running VM, with real QEMU: a console's password, reset, what VNC lets in."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from ha_agent.vdsm.refusal import Refusal
from ha_agent.vdsm.vm.vm import Vm
from tests.vdsm.embedded import VM, Client, Host, hosts, make_domain, make_xml

try:
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
except ImportError:  # before cryptography 43
    from cryptography.hazmat.primitives.ciphers.algorithms import TripleDES

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs QEMU"),
]
VNC = "<graphics type='vnc' passwd='*****' passwdValidTo='1970-01-01T00:00:01'/>"


@contextlib.asynccontextmanager
async def _running(folder: Path, devices: str) -> AsyncIterator[tuple[Vm, Client, Path]]:
    host = Host(make_domain(folder))
    async with hosts(host) as [client]:
        await client.create(make_xml(devices=devices))
        await client.event("Powering up")
        assert host.vdsm is not None
        vms = host.vdsm._vms
        assert vms is not None
        yield vms.get(VM), client, host.run_dir / VM / "vnc.sock"


def _answer(password: str, challenge: bytes) -> bytes:
    """Encrypt as VNC does: DES, the key's bits in reverse order within each byte."""
    padded = password.encode()[:8].ljust(8, b"\0")
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in padded)
    # Three times the same key is plain DES.
    encryptor = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()
    return bytes(encryptor.update(challenge))


async def _lets_in(socket: Path, password: str = "") -> bool:
    """Log in to VNC; tell whether that was granted.

    RFB 3.8: VNC authentication (2) is a challenge of 16 bytes; an expired or unset password
    fails with its reason, whatever is answered, and so does a wrong one.
    """
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        version = await reader.readexactly(12)
        writer.write(version)
        kinds = await reader.readexactly((await reader.readexactly(1))[0])
        assert kinds == b"\x02"  # a password is wanted, nothing less
        writer.write(b"\x02")
        writer.write(_answer(password, await reader.readexactly(16)))
        result: bytes = await reader.readexactly(4)
        return result == bytes(4)
    finally:
        writer.close()


async def test_vnc_wants_a_password_from_the_start(tmp_path: Path) -> None:
    async with _running(tmp_path, VNC) as (_, _, socket):
        assert not await _lets_in(socket)


async def test_a_password_is_set_with_its_end(tmp_path: Path) -> None:
    async with _running(tmp_path, VNC) as (vm, _, socket):
        await vm.set_graphics_password("vnc", "secret", 120, "disconnect")
        assert await _lets_in(socket, "secret")
        assert not await _lets_in(socket, "wrong")
        assert not await _lets_in(socket)
        await vm.set_graphics_password("vnc", "secret", 1)
        while await _lets_in(socket, "secret"):
            pass
        await vm.set_graphics_password("vnc", "", 120)
        assert not await _lets_in(socket)
        await vm.set_graphics_password("vnc", "other", 0)
        assert await _lets_in(socket, "other")
        with pytest.raises(Refusal) as refused:
            await vm.set_graphics_password("spice", "secret", 120)
        assert refused.value.code == 100
        assert "no spice console" in refused.value.message


async def test_a_vm_without_console_has_no_password(tmp_path: Path) -> None:
    async with _running(tmp_path, "") as (vm, _, _):
        with pytest.raises(Refusal, match="no vnc console"):
            await vm.set_graphics_password("vnc", "secret", 120)


async def test_a_reset_and_a_reboot_that_is_to_end_it(tmp_path: Path) -> None:
    async with _running(tmp_path, "") as (vm, client, _):
        await vm.orders.reset()
        await client.event("RebootInProgress")
        await vm.orders.set_destroy_on_reboot()
        await vm.orders.reset()
        fields = await client.event("Down")
        assert (fields["exitCode"], fields["exitReason"]) == (0, 13)


async def test_cont_of_a_running_vm_says_so_and_pauses_nothing(tmp_path: Path) -> None:
    async with _running(tmp_path, "") as (vm, client, _):
        assert vm.stats()["pauseCode"] == "NOERR"
        await vm.cont()
        await client.event("Powering up")
        assert all(fields["status"] != "Paused" for _, fields in client.events)
        assert "pauseCode" not in vm.stats()
