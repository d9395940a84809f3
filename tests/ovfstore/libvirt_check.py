# SPDX-License-Identifier: Apache-2.0
"""libvirt's own judgement of a domain: its RelaxNG schema, and its QEMU driver without a daemon.

Both get the document as VDSM hands it on: with the placeholders filled in, and on the bridge that
VDSM names in its own way. The driver (`qemu:///embed`) parses, gives addresses and checks all that
it checks before a start; it needs virsh, libvirt's driver for QEMU and QEMU, no daemon, and a user
that is not root (as root it insists on an account libvirt-qemu).
"""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence

import pytest
from lxml import etree

SCHEMA = pathlib.Path("/usr/share/libvirt/schemas/domain.rng")
DRIVER = "libvirt/connection-driver/libvirt_driver_qemu.so"
LIBRARIES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib")
NOBODY = 65534
DEADLINE_SECONDS = 50
_MARK = "document number "


@functools.cache
def _schema() -> etree.RelaxNG:
    return etree.RelaxNG(etree.parse(str(SCHEMA)))


def as_libvirt_gets_it(xml: str) -> str:
    """Return the document as VDSM hands it on."""
    xml = re.sub(r'"LEASE-OFFSET:[^"]*"', '"0"', xml)
    xml = re.sub(r'"LEASE-PATH:[^"]*"', '"/rhev/volume.lease"', xml)
    return xml.replace('bridge=";vdsmdummy;"', 'bridge="vdsmdummy"')


def schema_faults(xml: str) -> list[str]:
    """Return what libvirt's schema says against a domain; skips where it is not installed."""
    if not SCHEMA.exists():
        pytest.skip("libvirt's schemas are not installed (Debian: libvirt0)")
    schema = _schema()
    if schema.validate(etree.fromstring(as_libvirt_gets_it(xml).encode())):
        return []
    return [str(error) for error in schema.error_log]


def _on_this_machine(xml: str) -> str:
    """Return the document with the accelerator, machines and TPM that a test's machine has."""
    xml = as_libvirt_gets_it(xml).replace('type="kvm"', 'type="qemu"', 1)
    xml = re.sub(r'machine="[^"]*q35[^"]*"', 'machine="q35"', xml)
    xml = re.sub(r'machine="(pc-i440fx|rhel)[^"]*"', 'machine="pc"', xml)
    # Without KVM there is no host's CPU to pass on.
    xml = re.sub(r'<cpu mode="host-(passthrough|model)"', '<cpu mode="maximum"', xml)
    return re.sub(r"<tpm .*?</tpm>", "", xml)


def driver_faults(documents: Sequence[str]) -> list[str]:
    """Return what libvirt's driver says against each domain, or ""; skips where there is none."""
    virsh = shutil.which("virsh")
    if not virsh or not any(os.path.exists(f"{place}/{DRIVER}") for place in LIBRARIES):
        pytest.skip("no libvirt driver for QEMU (Debian: libvirt-clients, -daemon-driver-qemu)")
    if not shutil.which("qemu-system-x86_64"):
        pytest.skip("no QEMU")
    with _folder() as folder:
        commands = []
        for number, xml in enumerate(documents):
            path = folder / f"{number}.xml"
            path.write_text(_on_this_machine(xml))
            commands += [f"echo {_MARK}{number}", f"define {path} --validate"]
            commands += [f"undefine {etree.fromstring(xml.encode()).findtext('uuid')} --nvram"]
        as_user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        result = subprocess.run(  # type: ignore[call-overload]
            [virsh, "-q", "-c", f"qemu:///embed?root={folder}", "; ".join(commands)],
            env={"HOME": str(folder), "PATH": os.environ["PATH"], "LC_ALL": "C"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
            **(as_user if os.getuid() == 0 else {}),
        )
    answers = result.stdout.split(_MARK)[1:]
    assert len(answers) == len(documents), result.stdout
    return [_error(answer) for answer in answers]


def _error(answer: str) -> str:
    lines = [line for line in answer.splitlines() if "error: " in line]
    return "" if not lines else "; ".join(lines)


@contextlib.contextmanager
def _folder() -> Iterator[pathlib.Path]:
    """Yield a folder that libvirt's user may write to; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="ha-agent-libvirt-") as name:
        os.chmod(name, 0o777)
        yield pathlib.Path(name)
