# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import fcntl
import os
import pathlib
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ha_agent.broker.storage import directio
from tests.loop_device import loop_device

CONTENT = bytes(range(256)) * 100  # 25600 bytes: six blocks and a quarter


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder of the ordinary file system, then one of tmpfs (no O_DIRECT before Linux 6.6)."""
    if request.param == "disk":
        yield tmp_path
        return
    shm = pathlib.Path("/dev/shm")
    if not os.access(shm, os.W_OK):
        pytest.skip("no tmpfs at /dev/shm")
    folder = shm / f"ha-agent-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


@pytest.fixture
def volume(folder: pathlib.Path) -> pathlib.Path:
    path = folder / "volume"
    path.write_bytes(CONTENT)
    return path


class TestRead:
    @settings(
        max_examples=50,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(offset=st.integers(0, 30000), length=st.integers(0, 30000))
    def test_any_range(self, volume: pathlib.Path, offset: int, length: int) -> None:
        with directio.open_file(str(volume)) as file:
            assert file.read(offset, length) == CONTENT[offset : offset + length]

    def test_last_block_is_short(self, volume: pathlib.Path) -> None:
        with directio.open_file(str(volume)) as file:
            assert file.size_bytes() == 25600
            assert file.pread_exact(24576, 1024) == CONTENT[24576:]
            with pytest.raises(OSError, match="file ends at 25600, wanted 28672") as caught:
                file.pread_exact(24576, 4096)
            assert caught.value.errno == errno.ENODATA
            assert caught.value.filename == str(volume)

    def test_past_the_end(self, volume: pathlib.Path) -> None:
        with directio.open_file(str(volume)) as file:
            assert file.read(10**9, 10) == b""

    def test_more_than_one_transfer(self, folder: pathlib.Path) -> None:
        path = folder / "big"
        block = os.urandom(1024 * 1024)
        path.write_bytes(block * 9)
        with directio.open_file(str(path)) as file:
            assert file.read(5, 9 * len(block)) == (block * 9)[5:]

    @pytest.mark.parametrize(("offset", "length"), [(-1, 4), (0, -4)])
    def test_negative_numbers(self, volume: pathlib.Path, offset: int, length: int) -> None:
        with directio.open_file(str(volume)) as file, pytest.raises(ValueError, match="can't"):
            file.read(offset, length)

    def test_missing_file(self, folder: pathlib.Path) -> None:
        with pytest.raises(FileNotFoundError, match="nothing-here"):
            directio.open_file(str(folder / "nothing-here"))
        with pytest.raises(FileNotFoundError):
            directio.open_file(str(folder / "nothing-here"), write=True)
        assert not list(folder.iterdir())


class TestWrite:
    def test_only_the_named_blocks_change(self, volume: pathlib.Path) -> None:
        with directio.open_file(str(volume), write=True) as file:
            file.write_blocks(8192, b"x" * 8192)
            assert file.read(8192, 8192) == b"x" * 8192
        assert volume.read_bytes() == CONTENT[:8192] + b"x" * 8192 + CONTENT[16384:]

    def test_beyond_the_end_extends_a_file(self, volume: pathlib.Path) -> None:
        with directio.open_file(str(volume), write=True) as file:
            file.write_blocks(40960, b"y" * 4096)
        assert volume.read_bytes() == CONTENT.ljust(40960, b"\0") + b"y" * 4096

    @pytest.mark.parametrize(("offset", "length"), [(1, 4096), (512, 4096), (0, 512), (0, 0)])
    def test_whole_blocks_only(self, volume: pathlib.Path, offset: int, length: int) -> None:
        file = directio.open_file(str(volume), write=True)
        with file, pytest.raises(ValueError, match="not whole blocks"):
            file.write_blocks(offset, bytes(length))
        assert volume.read_bytes() == CONTENT

    def test_a_write_is_on_the_storage_at_return(self, volume: pathlib.Path) -> None:
        with directio.open_file(str(volume), write=True) as file:
            assert fcntl.fcntl(file.fd, fcntl.F_GETFL) & os.O_DSYNC

    def test_full_device(self) -> None:
        with directio.open_file("/dev/full", write=True) as file:
            with pytest.raises(OSError, match="No space left") as caught:
                file.write_blocks(0, bytes(4096))
            assert caught.value.filename == "/dev/full"

    def test_a_file_open_for_reading(self, volume: pathlib.Path) -> None:
        with directio.open_file(str(volume)) as file, pytest.raises(OSError, match="Bad file"):
            file.write_blocks(0, bytes(4096))

    def test_closing_twice(self, volume: pathlib.Path) -> None:
        file = directio.open_file(str(volume))
        file.close()
        file.close()


def test_disk_is_read_past_the_page_cache(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "volume"
    path.write_bytes(CONTENT)
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        pytest.skip("the file system of the test folder has no direct I/O")
    with directio.open_file(str(path)) as file:
        file.read(0, 4096)
        assert file.direct


def test_falls_back_where_direct_io_is_refused() -> None:
    """Files of /proc refuse O_DIRECT at open with EINVAL, as tmpfs did before Linux 6.6."""
    with pytest.raises(OSError, match="Invalid argument"):
        os.open("/proc/self/status", os.O_RDONLY | os.O_DIRECT)
    with directio.open_file("/proc/self/status") as file:
        assert not file.direct
        assert file.read(0, 5) == b"Name:"


@pytest.mark.root
@pytest.mark.parametrize("sector_bytes", [512, 4096])
def test_block_device(tmp_path: pathlib.Path, sector_bytes: int) -> None:
    image = tmp_path / "image"
    image.write_bytes(CONTENT.ljust(65536, b"\0"))
    with (
        loop_device(image, sector_bytes) as device,
        directio.open_file(device, write=True) as file,
    ):
        assert file.direct
        assert file.size_bytes() == 65536
        assert file.read(100, 9000) == CONTENT[100:9100]
        file.write_blocks(4096, b"z" * 4096)
        assert file.direct
        assert file.read(65000, 9000) == bytes(536)
        with pytest.raises(OSError, match="No space left"):
            file.write_blocks(65536, bytes(4096))
    assert image.read_bytes()[:12288] == CONTENT[:4096] + b"z" * 4096 + CONTENT[8192:12288]
