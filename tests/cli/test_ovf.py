# SPDX-License-Identifier: Apache-2.0
"""`ha-agent ovf` as a process, on files and on a broker whose answers a test writes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from ha_agent.ovfstore.ovf_build import build_ovf
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.xml_input import parse_xml
from tests.fake_broker import FakeBroker, ha_agent

OVF = Path(__file__).parents[1] / "data" / "engine_vm.ovf"
VM_CONF = """\
vmId=82a24281-8a25-4772-b9c9-45971e811cb3
memSize=4096
vmName=HostedEngine
smp=2
emulatedMachine=pc-q35-rhel8.4.0
display=vnc
devices={index:2,iface:ide,specParams:{},readonly:true,deviceId:55aab7ab-7ad7-4b8b-be58-a17295d00782,path:,device:cdrom,shared:false,type:disk}
devices={index:0,iface:virtio,format:raw,poolID:00000000-0000-0000-0000-000000000000,volumeID:19cc3c17-5c81-4750-b807-09db88a67ad5,imageID:f270b541-a113-4815-b72e-b0ec3e1ed6b6,specParams:{},readonly:false,domainID:2164faa8-b18b-4036-b686-5a6eec95081b,optional:false,deviceId:f270b541-a113-4815-b72e-b0ec3e1ed6b6,device:disk,shared:exclusive,propagateErrors:off,type:disk,bootOrder:1}
devices={nicModel:pv,macAddr:00:16:3e:35:83:68,linkActive:true,network:ovirtmgmt,specParams:{},deviceId:7dceb6c4-f555-4da0-a0b5-26ce9ef66c73,device:bridge,type:interface}
"""


def test_explain_tells_every_element(folder: Path) -> None:
    done = ha_agent(folder, "ovf", "explain", str(OVF))
    assert (done.returncode, done.stderr) == (0, "")
    assert "MACAddress" in done.stdout
    rows = json.loads(ha_agent(folder, "ovf", "explain", str(OVF), "--json").stdout)
    elements = sum(1 for _ in parse_xml(OVF.read_bytes(), where="OVF").iter())
    assert sum("@" not in row["path"].rpartition("/")[2] for row in rows) == elements
    assert {row["verdict"] for row in rows} >= {"used", "ignored"}
    ignored = json.loads(
        ha_agent(folder, "ovf", "explain", str(OVF), "--json", "--only", "ignored").stdout
    )
    assert ignored == [row for row in rows if row["verdict"] == "ignored"]


def test_explain_says_first_what_a_start_takes(folder: Path) -> None:
    plain = ha_agent(folder, "ovf", "explain", str(OVF)).stdout.splitlines()
    assert plain[0].endswith(", VM 11111111-2222-4333-8444-555555555555")
    assert plain[1].startswith("It has no EngineXml")
    assert plain[-1].endswith(" 0 unknown")
    engine = folder / "engine.ovf"
    command = ("ovf", "translate", str(OVF), "--to", "ovf", "--rebuild")
    engine.write_text(ha_agent(folder, *command).stdout, encoding="utf-8")
    assert "EngineXml is sound" in ha_agent(folder, "ovf", "explain", str(engine)).stdout
    text = engine.read_text(encoding="utf-8")
    engine.write_text(text.replace("&lt;domain ", "&lt;nothing ", 1), encoding="utf-8")
    assert "\nEngineXml not used: " in ha_agent(folder, "ovf", "explain", str(engine)).stdout
    bare = folder / "bare.ovf"
    bare.write_text(re.sub(r"(?s)<Disk ([^>]*/>|.*?</Disk>)", "", OVF.read_text(encoding="utf-8")))
    assert "\nIt can't be started: " in ha_agent(folder, "ovf", "explain", str(bare)).stdout


def test_what_of_a_document_cannot_be_read_is_noted(folder: Path) -> None:
    odd = folder / "odd.ovf"
    odd.write_bytes(OVF.read_bytes().replace(b"<Origin>6", b"<Origin>six"))
    for verb in (("explain",), ("translate", "--to", "json"), ("translate", "--to", "xml")):
        done = ha_agent(folder, "ovf", verb[0], str(odd), *verb[1:])
        assert done.returncode == 0
        assert "note: " in done.stderr
        assert "Origin: 'six' is not a number" in done.stderr


def test_explain_shows_an_element_that_nobody_knows(folder: Path) -> None:
    odd = folder / "odd.ovf"
    odd.write_bytes(OVF.read_bytes().replace(b"<TimeZone>", b"<Brand>new\x9b</Brand><TimeZone>"))
    odd.write_bytes(
        OVF.read_bytes().replace(b"<TimeZone>", "<Brand>new\x9b2J</Brand><TimeZone>".encode())
    )
    done = ha_agent(folder, "ovf", "explain", str(odd), "--only", "unknown")
    assert "\nContent\n  unknown  Brand = new?2J " in done.stdout
    assert "\x9b" not in done.stdout


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n<!-- \xc3\xa4 -->"])
def test_an_ovf_stays_what_it_is_to_the_byte(folder: Path, end: bytes) -> None:
    ovf = folder / "the.ovf"
    ovf.write_bytes(OVF.read_bytes().rstrip() + end)
    command = [sys.executable, "-m", "ha_agent.cli", "ovf", "translate", str(ovf), "--to", "ovf"]
    latin = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    got = subprocess.run(command, capture_output=True, timeout=30, check=True, env=latin)
    assert got.stdout == ovf.read_bytes()


def test_translate_to_each_form(folder: Path) -> None:
    xml = ha_agent(folder, "ovf", "translate", str(OVF), "--to", "xml")
    assert xml.returncode == 0
    assert parse_xml(xml.stdout.encode(), where="xml").tag == "domain"
    conf = ha_agent(folder, "ovf", "translate", str(OVF), "--to", "vmconf")
    assert conf.stdout.startswith("vmId=")
    ovf = ha_agent(folder, "ovf", "translate", str(OVF), "--to", "ovf")
    assert ovf.stdout.encode().strip() == OVF.read_bytes().strip()


def test_an_edited_ovf_gets_an_engine_xml_that_agrees(folder: Path) -> None:
    vm = parse_ovf(OVF.read_bytes(), where="OVF")
    first = folder / "first.ovf"
    first.write_text(ha_agent(folder, "ovf", "translate", str(OVF), "--to", "ovf").stdout)
    made = ha_agent(folder, "ovf", "translate", str(first), "--to", "ovf", "--rebuild").stdout
    edited = folder / "edited.ovf"
    made_vm = parse_ovf(made.encode(), where="made")
    edited.write_bytes(build_ovf(replace(made_vm, memory_mib=vm.memory_mib + 1024)))
    told = ha_agent(folder, "ovf", "translate", str(edited), "--to", "xml")
    assert "its EngineXml 2048" in told.stderr
    rebuilt = ha_agent(folder, "ovf", "translate", str(edited), "--to", "ovf", "--rebuild")
    assert rebuilt.returncode == 0
    edited.write_text(rebuilt.stdout)
    told = ha_agent(folder, "ovf", "translate", str(edited), "--to", "xml")
    assert "its EngineXml" not in told.stderr
    assert f"<memory unit='KiB'>{3072 * 1024}" in told.stdout.replace('"', "'").replace(
        "<memory>", "<memory unit='KiB'>"
    )


def test_an_old_vm_conf_becomes_an_ovf_with_what_was_invented_told(folder: Path) -> None:
    path = folder / "vm.conf"
    path.write_text(VM_CONF)
    done = ha_agent(folder, "ovf", "translate", str(path), "--to", "ovf")
    assert done.returncode == 0
    vm = parse_ovf(done.stdout.encode(), where="out")
    assert (vm.name, vm.memory_mib, vm.vcpus) == ("HostedEngine", 4096, 2)
    assert vm.engine_xml is not None
    assert "<lease>" in vm.engine_xml
    assert "note:" in done.stderr
    # An IDE CD-ROM can't be on a q35 machine.
    assert "bus='ide'" not in vm.engine_xml.replace('"', "'")


def test_a_damaged_document_is_told_with_file_and_line(folder: Path) -> None:
    path = folder / "bad.ovf"
    path.write_text("<a>\n<b>\n</a>")
    for verb in (("explain",), ("translate", "--to", "xml")):
        done = ha_agent(folder, "ovf", verb[0], str(path), *verb[1:])
        assert (done.returncode, done.stdout) == (1, "")
        assert "bad.ovf, line 3" in done.stderr


def test_diff_of_two_files_is_by_meaning(folder: Path) -> None:
    vm = parse_ovf(OVF.read_bytes(), where="OVF")
    other = folder / "other.ovf"
    other.write_bytes(build_ovf(replace(vm, memory_mib=4096)))
    done = ha_agent(folder, "ovf", "diff", str(OVF), str(other))
    assert done.returncode == 0
    assert "memory 2048 -> 4096 MiB" in done.stdout
    assert "no difference" in ha_agent(folder, "ovf", "diff", str(OVF), str(OVF)).stdout


def test_history_and_its_problems(folder: Path, broker: FakeBroker) -> None:
    version = {
        "number": 3,
        "identity": "0123456789ab",
        "accepted_at_unix_seconds": 1.0,
        "how": "read",
        "memory_mib": 4096,
        "source": "volume x\x1b",
        "codes": ["no_nic"],
    }
    answer = {"versions": [version], "problems": ["000002.json: damaged"]}
    broker.answers["ovf.history"] = (None, answer)
    done = ha_agent(folder, "ovf", "history")
    assert done.returncode == 0
    assert "1970-01-01T00:00:01Z" in done.stdout
    assert "no_nic" in done.stdout
    assert "\x1b" not in done.stdout
    assert "000002.json: damaged" in done.stderr
    as_json = ha_agent(folder, "ovf", "history", "--json")
    assert json.loads(as_json.stdout) == [version]


def test_rollback_puts_an_old_version(folder: Path, broker: FakeBroker) -> None:
    broker.answers["ovf.version"] = (None, {"document": b"<old/>"})
    stored = {"identity": "0123456789ab", "differences": ["memory 2 -> 1 MiB"], "copies": []}
    broker.answers["ovf.put"] = (None, stored)
    done = ha_agent(folder, "ovf", "rollback", "3")
    assert done.returncode == 0
    assert "memory 2 -> 1 MiB" in done.stdout
    assert broker.asked == [
        ("ovf.version", {"number": 3}),
        ("ovf.put", {"document": b"<old/>", "force": False, "how": "rollback"}),
    ]


def test_accept_passes_on_what_a_person_insists_on(folder: Path, broker: FakeBroker) -> None:
    broker.answers["ovf.accept"] = (None, {"identity": "0123456789ab"})
    assert ha_agent(folder, "ovf", "accept", "0123456789ab", "--force").returncode == 0
    assert broker.asked == [("ovf.accept", {"identity": "0123456789ab", "force": True})]


def test_a_refusal_of_the_guard_is_told(folder: Path, broker: FakeBroker) -> None:
    broker.answers["ovf.version"] = (None, {"document": b"<old/>"})
    refusal = {"code": "guard", "message": "no_nic: the VM has no NIC left", "details": {}}
    broker.answers["ovf.put"] = (refusal, None)
    done = ha_agent(folder, "ovf", "rollback", "3")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no NIC left" in done.stderr


def history_of(documents: dict[int, bytes]) -> list[dict[str, object]]:
    return [
        {
            "number": number,
            "identity": hashlib.sha256(document).hexdigest()[:12],
            "sha256": hashlib.sha256(document).hexdigest(),
            "accepted_at_unix_seconds": 1e9,
            "how": "read",
            "source": "volume x",
            "last_updated": "",
            "vm_name": "HostedEngine",
            "memory_mib": 4096,
            "codes": [],
        }
        for number, document in documents.items()
    ]


def test_a_history_goes_into_a_backup_and_back(folder: Path, broker: FakeBroker) -> None:
    stored = {1: b"<one/>", 3: b"<three/>" * 20000}
    broker.answers["ovf.history"] = (None, {"versions": history_of(stored), "problems": []})
    broker.answers["ovf.version"] = lambda params: (None, {"document": stored[params["number"]]})
    path = folder / "backup.tar"
    done = ha_agent(folder, "ovf", "export", str(path))
    assert (done.returncode, done.stdout) == (0, f"2 versions are in {path}\n")
    assert path.stat().st_mode & 0o077 == 0
    with tarfile.open(path) as archive:
        assert archive.getnames() == ["000001.ovf", "000001.json", "000003.ovf", "000003.json"]
    broker.asked.clear()
    broker.answers["ovf.import"] = (None, {"added": [7]})
    done = ha_agent(folder, "ovf", "import", str(path))
    assert (done.returncode, "history: 7, 7" in done.stdout) == (0, True)
    assert [method for method, _ in broker.asked] == ["ovf.import", "ovf.import"]
    assert broker.asked[0][1]["where"] == "backup.tar"


def test_what_is_no_backup(folder: Path, broker: FakeBroker) -> None:
    path = folder / "backup.tar"
    path.write_bytes(b"nothing of the kind" * 100)
    done = ha_agent(folder, "ovf", "import", str(path))
    assert (done.returncode, done.stdout, broker.asked) == (1, "", [])
    assert "backup.tar" in done.stderr
    assert ha_agent(folder, "ovf", "import", str(folder / "none")).returncode == 1
