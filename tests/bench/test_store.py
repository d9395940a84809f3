# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from bench import store
from bench.cluster import NotMeasured
from ha_agent.ovfstore.tar_volume import list_members


def test_the_archive_has_the_engine_vm_in_its_middle() -> None:
    data = store.archive(5)
    members = list_members(
        lambda start, length: data[start : start + length], len(data), where="", first_member=None
    )
    assert [member.name for member in members].index(store.MEMBER) == 3
    assert all(17_000 <= member.size_bytes < 19_000 for member in members[1:-1])


def test_both_sides_read_the_same(tmp_path: Path) -> None:
    path = tmp_path / "volume"
    data = store.archive(3)
    store.write_volume(path, data)
    assert path.stat().st_size == store.VOLUME_BYTES
    worker = store.Worker(tmp_path)
    try:
        _, value = worker.timed(
            "read_members", path=str(path), size_bytes=len(data), names=[store.MEMBER]
        )
        assert value["members"][store.MEMBER] == store.engine_ovf()
        assert store.dd_tar(path, ["bs=4k"])[1] == store.engine_ovf()
        with pytest.raises(NotMeasured, match="bad_input"):
            worker.call("read_members", path=str(path), size_bytes=512, names=[])
    finally:
        worker.close()
