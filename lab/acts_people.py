# SPDX-License-Identifier: Apache-2.0
"""What people and the engine do: maintenance, a push, newer packages; and full disks."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import Optional

from demo.hosts import PROGRAMS
from ha_agent.ovfstore.approval import identity_of
from lab.acts_hosts import AGENT, BROKER, DAEMONS, VDSM, power_cut
from lab.acts_vm import kill_qemu, the_vm
from lab.budgets import Budget
from lab.case import SETTLE_SECONDS, Lab
from lab.view import NotSo, snapshot, wait_for

NEWER = Path(__file__).parents[1] / ".lab-work" / "newer"
"""The packages of the same tree as a higher version; run_cases.py makes them."""
HANDS_OFF_SECONDS = 30.0
KNOWN_SECONDS = 120.0
_PUSH_CONF = "/etc/ha-agent/ha-agent.conf.d/ha-lab-push.conf"
_PUSH_FILES = "/etc/ha-agent/ha-lab-push"
_PUSH_SECONDS = 120.0
_UPGRADE_SECONDS = 300.0
_STATE = "/var/lib/ha-agent"


def maintenance(lab: Lab, target: str, *words: str) -> None:
    """`ha-agent maintenance` there."""
    lab.command(target, "ha-agent", "maintenance", *words)


def local_maintenance(lab: Lab, target: str) -> None:
    """The owner is taken out: the VM leaves it."""
    maintenance(lab, target, "local", "--reason", "lab")


def local_maintenance_other(lab: Lab, target: str) -> None:
    """A host without the VM is taken out, and back."""
    maintenance(lab, target, "local", "--reason", "lab")
    _wait_state(lab, target, "LocalMaintenance")
    maintenance(lab, target, "none")


def no_maintenance(lab: Lab, target: str) -> None:
    """All maintenance is over."""
    maintenance(lab, target, "none")


def global_maintenance(lab: Lab, target: str) -> None:
    """Hands off, and on again, while the VM runs."""
    maintenance(lab, target, "global", "--reason", "lab")
    for name in lab.cluster.hosts:
        _wait_state(lab, name, "GlobalMaintenance")
    time.sleep(lab.budgets.renew_seconds)
    maintenance(lab, target, "none")


def down_in_global_maintenance(lab: Lab, target: str) -> Optional[Budget]:
    """The VM ends while hands are off, and stays down until they are on again."""
    maintenance(lab, target, "global", "--reason", "lab")
    for name in lab.cluster.hosts:
        _wait_state(lab, name, "GlobalMaintenance")
    ended_at = time.monotonic()
    host = the_vm(lab).host
    kill_qemu(lab, target)
    lab.ended[host].pop()  # nobody restarts it, so nobody counts it
    ends_at = ended_at + max(
        HANDS_OFF_SECONDS, lab.budgets.dead_seconds + lab.budgets.step_seconds
    )
    while time.monotonic() < ends_at:
        if any(run.begun_at > ended_at for run in lab.observer.qemus.running()):
            raise NotSo("somebody has started the VM in global maintenance")
        time.sleep(0.25)
    maintenance(lab, target, "none")
    return lab.budgets.held_down(time.monotonic() - ended_at)


def _wait_state(lab: Lab, name: str, state: str) -> None:
    def there() -> Optional[bool]:
        picture = snapshot(lab.host(name))
        return (picture is not None and picture.agent.state == state) or None

    wait_for(there, KNOWN_SECONDS, f"{name} is not in {state}")


# --- the engine's push -------------------------------------------------------------------


def push_while_owner_is_dead(lab: Lab, target: str) -> None:
    """The owner dies; before anybody has taken over, a new definition is pushed to a survivor."""
    from tests.push_certs import ENGINE, Pki

    pki = Pki(lab.work / "pki")
    engine = pki.pair(ENGINE)
    survivor = lab.others(target)[0]
    ovf = lab.command(survivor, "ha-agent", "store", "get").encode()
    pushed = lab.work / "pushed.ovf"
    pushed.write_bytes(edited(ovf))
    _listen(lab, survivor, pki)
    power_cut(lab, target)
    words = [
        *(str(PROGRAMS / "ha-agent"), "push", "--host", lab.host(survivor).address),
        *("--server-name", survivor, "--cert", str(engine.cert), "--key", str(engine.key)),
        *("--ca", str(pki.ca), "put", str(pushed)),
    ]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=_PUSH_SECONDS, check=False
    )
    if done.returncode != 0:
        raise NotSo(f"the push to {survivor}: {(done.stderr or done.stdout).strip()}")


def boot_and_know(lab: Lab, target: str) -> None:
    """The dead owner boots, and every host has what was pushed."""
    lab.host(target).boot()
    lab.host(target).wait_up()
    wanted = identity_of((lab.work / "pushed.ovf").read_bytes())
    for name in lab.cluster.hosts:

        def knows(name: str = name) -> Optional[bool]:
            picture = snapshot(lab.host(name))
            return (picture is not None and picture.definition.identity == wanted) or None

        wait_for(knows, KNOWN_SECONDS, f"{name} does not have the definition that was pushed")
    for name in lab.cluster.hosts:
        lab.command(name, "rm", "-rf", _PUSH_CONF, _PUSH_FILES)


def edited(ovf: bytes) -> bytes:
    """Return the OVF as of one more edit in the engine."""
    found = re.search(rb"<Generation>(\d+)</Generation>", ovf)
    number = int(found[1]) + 1 if found else 2
    bare = re.sub(rb"<Generation>[^<]*</Generation>", b"", ovf)
    return re.sub(rb"(<Content[^>]*>)", rb"\1<Generation>%d</Generation>" % number, bare, count=1)


def _listen(lab: Lab, name: str, pki: object) -> None:
    """Switch the push on there, with certificates as the engine would have signed them."""
    from tests.push_certs import ENGINE

    pair = pki.pair(name)  # type: ignore[attr-defined]
    files = {"key.pem": pair.key, "cert.pem": pair.cert, "ca.pem": pki.ca}  # type: ignore[attr-defined]
    lab.command(name, "install", "-d", "-m", "755", _PUSH_FILES, str(Path(_PUSH_CONF).parent))
    for file, source in files.items():
        path = f"{_PUSH_FILES}/{file}"
        owner = ("-m", "440", "-g", "kvm")
        lab.command(name, "install", *owner, "/dev/stdin", path, text=source.read_text())
    conf = (
        "[push]\nlisten_address = ::\n"
        f"allowed_subjects = {ENGINE}\nkey_file = {_PUSH_FILES}/key.pem\n"
        f"cert_file = {_PUSH_FILES}/cert.pem\nca_file = {_PUSH_FILES}/ca.pem\n"
    )
    lab.command(name, "install", "-m", "644", "/dev/stdin", _PUSH_CONF, text=conf)
    lab.command(name, "systemctl", "restart", BROKER)

    def listens() -> Optional[bool]:
        picture = snapshot(lab.host(name))
        return (picture is not None and picture.push.state == "listening") or None

    wait_for(listens, KNOWN_SECONDS, f"{name} does not listen for the push")


# --- packages ----------------------------------------------------------------------------


def rolling_upgrade(lab: Lab, target: str) -> None:
    """Every host gets a higher version of the packages, one after the other, the owner last."""
    debs = sorted(NEWER.glob("*.deb"))
    if not debs:
        raise NotSo(f"there are no newer packages in {NEWER}")
    for name in [*lab.others(target), target]:
        before = _version(lab, name)
        lab.command(name, "install", "-d", "/var/tmp/ha-lab-newer")
        for deb in debs:
            _copy(lab, name, deb, f"/var/tmp/ha-lab-newer/{deb.name}")
        paths = [f"/var/tmp/ha-lab-newer/{deb.name}" for deb in debs]
        done = lab.host(name).run(
            *("dpkg", "--install", "--force-confold", *paths), deadline_seconds=_UPGRADE_SECONDS
        )
        if done.returncode != 0:
            raise NotSo(f"{name}: dpkg: {(done.stderr or done.stdout).strip()[-500:]}")
        if _version(lab, name) == before:
            raise NotSo(f"{name} has still version {before}")
        lab.view.settle(SETTLE_SECONDS)


def _version(lab: Lab, name: str) -> str:
    return lab.command(name, "dpkg-query", "--show", "--showformat=${Version}", "ha-agent")


def _copy(lab: Lab, name: str, source: Path, path: str) -> None:
    leader = lab.host(name).leader
    if leader is None:
        raise NotSo(f"{name} has no power")
    Path(f"/proc/{leader}/root{path}").write_bytes(source.read_bytes())


# --- full disks --------------------------------------------------------------------------


def fill_disk(lab: Lab, target: str) -> None:
    """Not a byte is free in the host's /var/lib/ha-agent, and all daemons start anew there."""
    lab.command(target, "sh", "-ec", _FILL_STATE)
    for unit in DAEMONS:
        lab.command(target, "systemctl", "restart", unit)

    def answers() -> Optional[bool]:
        return snapshot(lab.host(target)) is not None or None

    wait_for(answers, KNOWN_SECONDS, f"the broker of {target} does not start on a full disk")


def free_disk(lab: Lab, target: str) -> None:
    """There is room again."""
    lab.command(target, "sh", "-ec", _FREE_STATE)
    for unit in (VDSM, BROKER, AGENT):
        lab.command(target, "systemctl", "restart", unit)


def fill_run(lab: Lab, target: str) -> None:
    """Not a byte is free in the host's /run for longer than the lease."""
    lab.command(target, "sh", "-ec", _FILL_RUN)
    time.sleep(lab.budgets.dead_seconds + lab.budgets.renew_seconds)
    if snapshot(lab.host(target)) is None:
        raise NotSo(f"the broker of {target} does not answer while /run is full")


def free_run(lab: Lab, target: str) -> None:
    """There is room again."""
    lab.command(target, "sh", "-ec", "rm -f /run/ha-lab-full; mount -o remount,size=20% /run")


# A small file system of its own instead of the state folder, with what was there: the machine's
# own is not ours to fill. One file takes the rest of it.
_FILL_STATE = f"""
mkdir -p /var/tmp/ha-lab-state
kib=$(( $(du -sk {_STATE} | cut -f 1) + 1024 ))
mount -t tmpfs -o "size=${{kib}}k,mode=0750" ha-lab-state /var/tmp/ha-lab-state
cp -a {_STATE}/. /var/tmp/ha-lab-state/
chown --reference={_STATE} /var/tmp/ha-lab-state
chmod --reference={_STATE} /var/tmp/ha-lab-state
mount --bind /var/tmp/ha-lab-state {_STATE}
dd if=/dev/zero of={_STATE}/ha-lab-full bs=64k 2>/dev/null || true
test "$(stat -f -c %a {_STATE})" -le 16
"""
_FREE_STATE = f"""
rm -f {_STATE}/ha-lab-full
rm -rf /var/tmp/ha-lab-kept
mkdir /var/tmp/ha-lab-kept
cp -a {_STATE}/. /var/tmp/ha-lab-kept/
umount --lazy {_STATE}
umount --lazy /var/tmp/ha-lab-state
cp -a /var/tmp/ha-lab-kept/. {_STATE}/
rm -rf /var/tmp/ha-lab-kept
"""
_FILL_RUN = """
mount -o remount,size=32m /run
dd if=/dev/zero of=/run/ha-lab-full bs=64k 2>/dev/null || true
test "$(stat -f -c %a /run)" -le 16
"""
