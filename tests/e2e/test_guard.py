# SPDX-License-Identifier: Apache-2.0
"""The guard over whole hosts: what may not be stored or used, and what a person insists on."""

from __future__ import annotations

import dataclasses
import json
import uuid
from pathlib import Path
from typing import Callable

import pytest

from demo.hosts import Host
from ha_agent.broker.rpc import call as rpc_call
from ha_agent.ovfstore.approval import identity_of
from ha_agent.ovfstore.ovf_build import build_ovf
from ha_agent.ovfstore.ovf_parse import parse_ovf
from tests.e2e.lone import (
    CLOCK,
    done,
    edited,
    eventually,
    failed,
    in_use,
    read_ovf,
    says,
    started,
    store_volumes,
    write_ovf,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def kept(host: Host) -> list[tuple[bytes, str]]:
    """Return what both copies hold: bytes and metadata."""
    return [
        (volume.read_bytes(), volume.with_suffix(".meta").read_text())
        for volume in store_volumes(host.domain)
    ]


def domain_identity(host: Host) -> str:
    """Return what the agent would start now."""
    socket = str(host.folder / "run" / "broker.socket")
    answer = rpc_call.call_once(socket, "definition.domain", {}, 10, clock=CLOCK)
    assert isinstance(answer["xml"], str)
    return str(answer["identity"])


# --- put ----------------------------------------------------------------------------------


def test_what_the_guard_refuses_is_written_by_force_only_and_then_used_everywhere(
    host: Host, twin: Host, tmp_path: Path
) -> None:
    started(host, twin)
    old, before = read_ovf(host.domain), kept(host)
    file = tmp_path / "no-nic.ovf"
    file.write_bytes(edited(host.domain, old, nics=()))
    said = failed(host, "store", "put", str(file))
    assert "no_nic" in said
    assert "--force insists" in said
    assert kept(host) == before
    assert in_use(host) == in_use(twin) == old

    said = done(host, "store", "put", str(file), "--force")
    assert identity_of(file.read_bytes()) in said
    for one in (host, twin):
        assert in_use(one) == file.read_bytes()
        assert domain_identity(one) == identity_of(file.read_bytes())
        assert "forced past no_nic" in done(one, "ovf", "history")
    done(twin, "ovf", "rollback", "1")
    assert in_use(host) == old


def test_a_host_that_comes_later_uses_what_was_forced(
    host: Host, twin: Host, tmp_path: Path
) -> None:
    started(host)
    file = tmp_path / "no-nic.ovf"
    file.write_bytes(edited(host.domain, read_ovf(host.domain), nics=()))
    done(host, "store", "put", str(file), "--force")
    started(twin)  # with no definition of its own, and the same guard
    assert in_use(twin) == file.read_bytes()
    assert "ovf accept" not in says(twin, identity_of(file.read_bytes()))
    # It was approved as it is: what the engine makes of it later waits again.
    write_ovf(host.domain, edited(host.domain, file.read_bytes(), is_delete_protected=False))
    assert in_use(twin) == file.read_bytes()
    assert "delete protection" in says(twin, "ovf accept")


def of_another_vm(host: Host, ovf: bytes) -> bytes:
    return ovf.replace(host.domain.vm_uuid.encode(), str(uuid.UUID(int=7)).encode())


def without_disks(host: Host, ovf: bytes) -> bytes:
    vm = dataclasses.replace(parse_ovf(ovf, where="test"), disks=(), engine_xml=None)
    return build_ovf(vm)


@pytest.mark.parametrize("change", [of_another_vm, without_disks])
def test_what_nobody_can_insist_on(
    host: Host, tmp_path: Path, change: Callable[[Host, bytes], bytes]
) -> None:
    started(host)
    before = kept(host)
    file = tmp_path / "never.ovf"
    file.write_bytes(change(host, read_ovf(host.domain)))
    assert "--force insists" not in failed(host, "store", "put", str(file), "--force")
    assert kept(host) == before
    assert domain_identity(host) == identity_of(read_ovf(host.domain))


# --- past the guard -----------------------------------------------------------------------


def test_what_the_engine_wrote_past_the_guard_waits_for_a_person_on_each_host(
    host: Host, twin: Host
) -> None:
    started(host, twin)
    old = read_ovf(host.domain)
    new = edited(host.domain, old, nics=(), memory_mib=300)
    write_ovf(host.domain, new)
    for one in (host, twin):
        one.cli("refresh")
        text = says(one, f"ha-agent ovf accept {identity_of(new)} --force")
        assert "no NIC" in text
        assert in_use(one) == old
        assert domain_identity(one) == identity_of(old)
        assert len(done(one, "ovf", "history").splitlines()) == 2

    broker = twin.daemons["ha-broker"]
    broker.kill()
    broker.wait(10)
    twin.start(["ha-broker"])
    says(twin, f"ha-agent ovf accept {identity_of(new)} --force", identity_of(old))
    assert domain_identity(twin) == identity_of(old)

    assert "no_nic" in failed(host, "ovf", "accept", identity_of(new))
    assert "waits" in failed(host, "ovf", "accept", "0" * 12, "--force")
    done(host, "ovf", "accept", identity_of(new), "--force")
    assert in_use(host) == new
    assert domain_identity(host) == identity_of(new)
    assert "ovf accept" not in says(host, identity_of(new))
    assert in_use(twin) == old  # it was accepted on one host only

    # That it was accepted outlives the broker.
    broker = host.daemons["ha-broker"]
    broker.terminate()
    assert broker.wait(20) == 0
    host.start(["ha-broker"])
    says(host, f"definition {identity_of(new)}", "from volume")
    assert in_use(host) == new


def test_a_refused_one_that_the_engine_mends_is_used(host: Host) -> None:
    started(host)
    old = read_ovf(host.domain)
    write_ovf(host.domain, edited(host.domain, old, nics=()))
    host.cli("refresh")
    says(host, "ovf accept")
    mended = edited(host.domain, old, memory_mib=400)
    write_ovf(host.domain, mended)
    assert in_use(host) == mended
    assert "ovf accept" not in says(host, identity_of(mended))


# --- can_do -------------------------------------------------------------------------------


def asked(host: Host, *arguments: str) -> tuple[int, str]:
    """Return the exit code of can-do and the verdict's code."""
    ended = host.cli("can-do", *arguments, "--json")
    answer = json.loads(ended.stdout)
    assert answer["allowed"] is (ended.returncode == 0)
    assert answer["sentence"]
    assert ended.stderr == ""
    return ended.returncode, answer["code"]


def test_what_the_engine_may_do_to_what_it_lives_on(host: Host) -> None:
    host.start()
    says(host, "Lease: held by host1", "host1  yes")
    domain, elsewhere = host.domain, str(uuid.UUID(int=9))
    store = store_volumes(domain)[0]
    for action in ("storage_domain.detach", "storage_domain.maintenance", "storage_domain.remove"):
        assert asked(host, action, f"storage_domain={domain.uuid}") == (1, "hosted_engine_domain")
        assert asked(host, action, f"storage_domain={elsewhere}") == (0, "not_concerned")
    for action in ("disk.remove", "disk.detach", "disk.move"):
        boot, status = domain.boot_disk.parent.name, domain.status_image
        assert asked(host, action, f"disk={boot}") == (1, "engine_vm_disk")
        assert asked(host, action, f"disk={status}") == (1, "hosted_engine_volume")
        assert asked(host, action, f"disk={store.parent.name}") == (1, "ovf_store")
        assert asked(host, action, f"disk={elsewhere}") == (0, "not_concerned")
    assert asked(host, "ovf_store.remove", f"disk={store.name}") == (1, "ovf_store")
    assert asked(host, "ovf_store.remove", f"storage_domain={domain.uuid}") == (1, "ovf_store")
    assert asked(host, "ovf_store.remove", f"disk={elsewhere}") == (0, "not_concerned")
    assert asked(host, "vm.remove", f"vm={domain.vm_uuid}") == (1, "engine_vm")
    assert asked(host, "vm.remove", f"vm={elsewhere}") == (0, "not_concerned")
    assert asked(host, "host.maintenance", "host_id=1") == (1, "last_able_host")
    assert asked(host, "host.remove", "host=host1") == (1, "host_runs_engine")
    assert asked(host, "host.maintenance", "host_id=7") == (0, "not_concerned")
    assert asked(host, "host.maintenance", "host=nobody") == (1, "bad_object")
    assert asked(host, "engine.explode") == (1, "unknown_action")
    assert asked(host, "vm.remove", "vm=many") == (1, "bad_object")
    plain = host.cli("can-do", "vm.remove", f"vm={domain.vm_uuid}")
    assert (plain.returncode, plain.stdout[:14]) == (1, "no (engine_vm)")
    assert host.cli("can-do", "vm.remove", "vm").returncode == 2


def test_another_able_host_makes_maintenance_possible(host: Host, twin: Host) -> None:
    host.start()
    says(host, "Lease: held by host1")
    assert asked(host, "host.maintenance", "host_id=1") == (1, "last_able_host")
    twin.start()
    says(host, "twin   yes")
    assert asked(host, "host.maintenance", "host_id=1") == (0, "allowed")
    assert asked(twin, "host.remove", "host=twin") == (0, "allowed")
    assert asked(twin, "host.remove", "host=host1") == (1, "host_runs_engine")
    done(twin, "maintenance", "local")
    eventually(
        lambda: asked(host, "host.maintenance", "host_id=1") == (1, "last_able_host"),
        "host1 does not see that its twin is in maintenance",
    )
