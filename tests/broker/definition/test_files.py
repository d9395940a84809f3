# SPDX-License-Identifier: Apache-2.0
"""This host's files of the definition, on a disk that works, fails and hangs.

What the keeper makes of them stands in test_definition.py."""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from demo.domain import engine_vm
from ha_agent.broker.definition.files import DefinitionFiles
from ha_agent.broker.definition.values import Definition, read_definition
from ha_agent.clock import SystemClock
from ha_agent.ovfstore.history import History
from ha_agent.ovfstore.ovf_build import build_ovf

DOMAIN, VM, IMAGE, VOLUME = (str(uuid.UUID(int=number)) for number in range(1, 5))
CLOCK = SystemClock()
VM_CONF = "vm.conf"


def definition_of(memory_mib: int, **changes: Any) -> Definition:
    vm = replace(engine_vm(DOMAIN, IMAGE, VOLUME, VM), memory_mib=memory_mib, engine_xml=None)
    made = read_definition(
        build_ovf(vm),
        "x",
        vm_uuid=VM,
        domain_uuid=DOMAIN,
        source="volume x",
        last_updated="Sun Nov 22 05:16:23 UTC 2026",
        accepted_at=CLOCK.wall(),
    )
    return replace(made, **changes)


class Files(DefinitionFiles):
    """In a folder; `changes` counts what it told."""

    def __init__(self, folder: Path) -> None:
        self.changes = 0
        self.history = History(folder / "definitions")
        super().__init__(
            self.history, folder / VM_CONF, vm_uuid=VM, domain_uuid=DOMAIN, on_change=self.count
        )

    def count(self) -> None:
        self.changes += 1


async def test_what_is_kept_is_found_after_a_start(tmp_path: Path) -> None:
    files = Files(tmp_path)
    definition = definition_of(1024, how="forced", approved=("too_big",))
    assert await files.load() is None
    await files.keep(definition)
    assert (files.problem, files.version_of(definition.identity)) == ("", 1)
    assert files.approved(definition.identity) == {"too_big"}
    (tmp_path / VM_CONF).unlink()
    again = Files(tmp_path)
    assert await again.load() == replace(definition, is_from_history=True)
    assert again.version_of(definition.identity) == 1
    assert again.approved(definition.identity) == {"too_big"}
    assert f"vmId={VM}" in (tmp_path / VM_CONF).read_text()


async def test_of_what_is_unknown_nothing_is_known(tmp_path: Path) -> None:
    files = Files(tmp_path)
    assert (files.version_of("abc"), files.approved("abc")) == (0, frozenset())


async def test_an_import_approves_nothing_and_is_not_in_use(tmp_path: Path) -> None:
    files = Files(tmp_path)
    definition = definition_of(1024, how="import", approved=("too_big",))
    await files.keep(definition)
    again = Files(tmp_path)
    assert await again.load() is None
    assert again.approved(definition.identity) == frozenset()


async def test_what_could_not_be_kept_is_kept_later_in_order(tmp_path: Path) -> None:
    (tmp_path / "definitions").write_bytes(b"")
    files = Files(tmp_path)
    definitions = [definition_of(memory_mib) for memory_mib in (1024, 2048)]
    for definition in definitions:
        await files.keep(definition)
    assert "Not a directory" in files.problem
    assert files.changes == 1
    assert files.version_of(definitions[0].identity) == 0
    (tmp_path / "definitions").unlink()
    await files.keep_rest()
    assert files.problem == ""
    assert [v.identity for v in files.history.versions()] == [d.identity for d in definitions]


async def test_only_the_last_wait_to_be_kept(tmp_path: Path) -> None:
    (tmp_path / "definitions").write_bytes(b"")
    files = Files(tmp_path)
    definitions = [definition_of(1024 + number) for number in range(25)]
    for definition in definitions:
        await files.keep(definition)
    (tmp_path / "definitions").unlink()
    await files.keep_rest()
    kept = [version.identity for version in files.history.versions()]
    assert kept == [definition.identity for definition in definitions[-20:]]


async def test_a_run_folder_that_is_gone_keeps_nothing_from_the_history(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = Files(tmp_path)
    (tmp_path / VM_CONF).mkdir()
    await files.keep(definition_of(1024))
    assert files.problem == ""
    assert "vm.conf can't be written" in caplog.text


async def test_a_disk_that_hangs_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    real = os.fsync

    def fsync(fd: int) -> None:
        assert gate.wait(30)
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    files = Files(tmp_path)
    definitions = [definition_of(1024 + number) for number in range(22)]
    keeping = []
    try:
        # The loop goes on, and what comes meanwhile waits behind the first, which is full then.
        for definition in definitions:
            keeping.append(asyncio.ensure_future(files.keep(definition)))
            await asyncio.sleep(0)
        assert not any(task.done() for task in keeping)
    finally:
        gate.set()
    await asyncio.gather(*keeping)
    kept = [version.identity for version in files.history.versions()]
    assert kept == [definition.identity for definition in definitions[-20:]]
