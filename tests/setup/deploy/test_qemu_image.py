# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.setup.deploy.qemu_image import copy_image, image_info

pytestmark = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")


def qcow2(path: Path, *more: str) -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *more, str(path), "2M"], check=True)
    return path


async def test_an_image_is_copied_and_its_progress_told(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(b"boots".ljust(2 << 20, b"\1"))
    source = qcow2(tmp_path / "a.qcow2")
    words = ["qemu-img", "convert", "-n", "-f", "raw", "-O", "qcow2", str(raw), str(source)]
    subprocess.run(words, check=True)
    info = await image_info(source)
    assert (info.format, info.virtual_bytes) == ("qcow2", 2 << 20)
    target = tmp_path / "volume"
    target.write_bytes(bytes(4 << 20))
    said: list[str] = []
    await copy_image(source, info.format, str(target), said.append)
    assert said[-1] == "100 %"
    assert target.read_bytes() == raw.read_bytes() + bytes(2 << 20)


async def test_what_is_no_image_to_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        await image_info(tmp_path / "absent")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(BadInput, match="it is empty"):
        await image_info(tmp_path / "empty")
    base = qcow2(tmp_path / "base.qcow2")
    child = qcow2(tmp_path / "child.qcow2", "-b", str(base), "-F", "qcow2")
    with pytest.raises(BadInput, match="has a backing file"):
        await image_info(child)
    other = tmp_path / "x.vmdk"
    subprocess.run(["qemu-img", "create", "-q", "-f", "vmdk", str(other), "2M"], check=True)
    with pytest.raises(BadInput, match="format vmdk is none of raw, qcow2"):
        await image_info(other)


async def test_an_image_that_would_have_another_file_read_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "shadow"
    outside = qcow2(tmp_path / "outside.qcow2", "-o", f"data_file={data},data_file_raw=on")
    with pytest.raises(BadInput, match="its data is in another file"):
        await image_info(outside)


async def test_an_encrypted_image_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    # Not LUKS: qemu-img measures its CPU for that, and now and then fails to on a busy machine.
    how = "encrypt.format=aes,encrypt.key-secret=s"
    with pytest.raises(BadInput, match="it is encrypted"):
        await image_info(qcow2(tmp_path / "a.qcow2", "--object", "secret,id=s,data=x", "-o", how))


@pytest.mark.parametrize(
    ("mode", "what"), [("w:gz", "gzip"), ("w:xz", "xz"), ("w", "a tar archive")]
)
async def test_an_archive_is_no_raw_disk(tmp_path: Path, mode: str, what: str) -> None:
    path = tmp_path / "appliance.ova"
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        archive.add(__file__, "disk.qcow2")
    with pytest.raises(BadInput, match=f"it is .*{what}.*: unpack it"):
        await image_info(path)


async def test_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(BadInput, match="it is no file and no block device"):
        await image_info(tmp_path / "fifo")


async def test_a_copy_that_fails_says_why(tmp_path: Path) -> None:
    source = qcow2(tmp_path / "a.qcow2")
    (tmp_path / "small").write_bytes(bytes(1 << 20))
    with pytest.raises(EnvironmentFault, match=r"copying .*a\.qcow2: "):
        await copy_image(source, "qcow2", str(tmp_path / "small"), lambda _text: None)
