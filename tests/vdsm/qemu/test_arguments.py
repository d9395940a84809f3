# SPDX-License-Identifier: Apache-2.0
"""QEMU's arguments for definitions, and QEMU's own opinion of them."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest
from lxml import etree

from ha_agent.errors import BadInput
from ha_agent.vdsm.domain.document import parse_domain
from ha_agent.vdsm.qemu.arguments import build_command
from ha_agent.vdsm.qemu.placement import Placement, UnsupportedDevice
from ha_agent.vdsm.qemu.probe import read_qemu
from tests.vdsm.command_line import NIC, build, values
from tests.vdsm.embedded import VM, make_xml

SAMPLES = Path(__file__).parents[4] / "shared" / "data" / "ovf"


def test_identity_and_base() -> None:
    command = build()
    assert command.arguments[0] == "/usr/bin/qemu"
    assert values(command, "-uuid") == [VM]
    assert values(command, "-name") == ["guest=engine,debug-threads=on"]
    assert values(command, "-pidfile") == ["/run/v/qemu.pid"]
    assert {"-no-user-config", "-nodefaults"} < set(command.arguments)
    assert values(command, "-m") == ["size=32M"]
    assert values(command, "-accel") == ["tcg,thread=multi"]
    assert "-S" not in command.arguments
    paused = make_xml(metadata="<launchPaused>true</launchPaused>")
    assert "-S" in build(paused).arguments


def test_a_name_with_commas_and_quotes() -> None:
    command = build(make_xml(name="a,b=&quot;c&quot; d"))
    assert values(command, "-name") == ['guest=a,,b="c" d,debug-threads=on']
    with pytest.raises(BadInput, match="control character"):
        build(make_xml(name="a&#10;b"))


@pytest.mark.parametrize(
    ("machine", "used"),
    [("pc-q35-rhel9.6.0", "q35"), ("pc-i440fx-rhel7.3.0", "pc"), ("pc-q35-7.2", "pc-q35-7.2")],
)
def test_machine_types(machine: str, used: str) -> None:
    command = build(make_xml().replace("machine='pc'", f"machine='{machine}'"))
    assert values(command, "-machine")[0].split(",")[0] == used
    assert bool(command.notes) == (machine != used)
    with pytest.raises(UnsupportedDevice, match="'pseries'"):
        build(make_xml().replace("machine='pc'", "machine='pseries'"))


@pytest.mark.parametrize(
    ("cpu", "accelerator", "model"),
    [
        ("", "tcg", "max"),
        ("<cpu mode='host-passthrough'/>", "tcg", "max"),
        ("<cpu mode='host-passthrough'/>", "kvm", "host"),
        ("<cpu><model>Broadwell</model></cpu>", "tcg", "Broadwell"),
        ("<cpu><model>Zen9</model></cpu>", "tcg", "max"),
        (
            "<cpu><model>Broadwell</model><feature policy='require' name='vmx'/>"
            "<feature policy='disable' name='pcid'/>"
            "<feature policy='require' name='no,pe'/></cpu>",
            "kvm",
            "Broadwell,vmx=on,pcid=off",
        ),
    ],
)
def test_cpu_models(cpu: str, accelerator: str, model: str) -> None:
    command = build(make_xml().replace("<devices>", f"{cpu}<devices>", 1), accelerator=accelerator)
    assert values(command, "-cpu") == [model]


def test_uefi_without_firmware_is_refused() -> None:
    uefi = make_xml().replace("hvm</type>", "hvm</type><loader type='pflash'>/x/CODE.fd</loader>")
    with pytest.raises(UnsupportedDevice, match=r"/x/CODE\.fd is not on this host"):
        build(uefi)
    command = build(uefi, firmware="/fw/CODE.fd", nvram="/run/v/nvram.fd")
    assert "pflash0=pflash0,pflash1=pflash1" in values(command, "-machine")[0]


def _documents() -> list[tuple[str, str]]:
    own = make_xml(
        name="a,b",
        devices=NIC.format("net", "e1000", "")
        + "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
        "<memballoon model='virtio'/><watchdog model='i6300esb' action='reset'/>"
        "<console type='pty'><target type='serial'/></console><video><model type='vga'/></video>"
        "<graphics type='vnc' passwdValidTo='2030-01-01T00:00:00'/>"
        "<controller type='usb' model='qemu-xhci'/><input type='tablet' bus='usb'/>"
        "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>",
    )
    found = [("own pc", own), ("own q35", own.replace("machine='pc'", "machine='q35'"))]
    for path in sorted(SAMPLES.glob("*.ovf")):
        text = etree.parse(str(path)).findtext(".//EngineXml")
        if text:
            found.append((path.name, text.strip()))
    return found


@pytest.mark.qemu
@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs QEMU")
async def test_qemu_takes_the_arguments(tmp_path: Path) -> None:
    qemu = await read_qemu("qemu-system-x86_64")
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    for name, text in _documents():
        domain = dataclasses.replace(parse_domain(text), memory_mib=64, vcpus=1)
        paths = {disk_.target: str(disk) for disk_ in domain.disks if disk_.device == "disk"}
        # Relative socket names: the test's own directory may have too long a name.
        placement = Placement(
            Path("."), "tcg", {"net": "user", "ovirtmgmt": "user"}, paths, frozenset(paths)
        )
        arguments = list(build_command(domain, qemu, placement).arguments)
        chardev = arguments.index(f"socket,id=qmp,fd={placement.qmp_fd},server=on,wait=off")
        arguments[chardev] = "stdio,id=qmp"
        commands = '{"execute": "qmp_capabilities"}{"execute": "query-status"}{"execute": "quit"}'
        done = subprocess.run(
            [*arguments, "-S"],
            input=commands.encode(),
            capture_output=True,
            timeout=20,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 0, (name, done.stderr)
        assert b'"status": "prelaunch"' in done.stdout, (name, done.stdout)
