# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ha_agent.vdsm.vm_status import ExitReason
from tests.sim.sim_story import story


def test_a_vm_launches_boots_and_is_healthy() -> None:
    with story(engine_on=0, boot_seconds=30.0, seconds=0.0) as told:
        vm = told.world.engine.launch(told.world[1], "definition-1")
        assert (vm.has_disk, vm.page) == (False, "silent")
        told.wait(1.0)
        assert (vm.has_disk, vm.page) == (True, "bad")
        told.wait(30.0)
        assert vm.page == "good"


def test_a_second_one_is_refused_by_the_lease() -> None:
    with story(seconds=0.0) as told:
        second = told.world.engine.launch(told.world[2], "definition-1")
        told.wait(1.0)
        assert second.state == "ended"
        assert "Lease is held by another host" in second.exit_message
        assert told.running_on == [1]


def test_after_a_power_off_the_lease_is_held_for_as_long_as_said() -> None:
    with story(vm_lease_expiry_seconds=30.0, seconds=1.0) as told:
        told.world[1].power_off()
        assert told.running_on == []
        told.wait(29.0)
        assert not told.world.engine.lease_is_free()
        told.wait(2.0)
        assert told.world.engine.lease_is_free()


def test_a_crash_frees_the_lease_at_once() -> None:
    with story(seconds=1.0) as told:
        vm = told.world.engine.vms[0]
        vm.end("QEMU crashed", ExitReason.LOST_QEMU_CONNECTION)
        assert told.world.engine.lease_is_free()
        assert not told.world.engine.healthy


def test_a_paused_vm_has_no_lease_and_wants_it_back() -> None:
    with story(seconds=1.0) as told:
        engine = told.world.engine
        vm = engine.vms[0]
        engine.pause(vm)
        assert (told.running_on, engine.lease_is_free()) == ([], True)
        engine.launch(told.world[2], "definition-1")
        told.wait(1.0)
        engine.resume(vm)
        assert (told.running_on, vm.paused) == ([2], True)


def test_a_hung_guest_does_not_hear_a_shutdown() -> None:
    with story(seconds=1.0) as told:
        vm = told.world.engine.vms[0]
        vm.hung = True
        vm.shut_down()
        told.wait(30.0)
        assert vm.state == "running"
        vm.hung = False
        told.wait(10.0)
        assert (vm.state, vm.exit_reason) == ("ended", ExitReason.ADMIN_SHUTDOWN)


def test_a_migration_hands_disk_and_health_over() -> None:
    with story(seconds=1.0) as told:
        engine = told.world.engine
        source = engine.vms[0]
        target = engine.receive(told.world[2], source.definition)
        assert told.running_on == [1]
        engine.hand_over(source, target)
        assert (told.running_on, target.page) == ([2], "good")
        assert source.exit_reason is ExitReason.MIGRATION_SUCCEEDED
