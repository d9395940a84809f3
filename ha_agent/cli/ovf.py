# SPDX-License-Identifier: Apache-2.0
"""`ha-agent ovf`: look into a definition of the engine VM, translate it, and its history here.

explain and translate need no broker unless they read what is in use; the others ask it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ha_agent.cli import documents
from ha_agent.cli.command import DONE, Command, Verbs
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import WallTime

if TYPE_CHECKING:  # lxml costs every other command 30 ms
    from ha_agent.ovfstore.ovf_explain import Explained

FORMATS = ("xml", "json", "vmconf", "ovf")
# A put writes both copies and reads them again; storage may be slow, but not for ever.
# An update of the engine that may be under way is waited for, for up to 330 s.
PUT_SECONDS = 480.0
# More than a host may be told to keep (config/schema.py).
_IMPORT_LIMIT = 2000
_BACKUP_LIMIT_BYTES = 512 * 1024 * 1024


def add(verbs: Verbs) -> None:
    """Add `ovf` with its verbs."""
    ovf = verbs.group("ovf", "look into the engine VM's definition, and its history on this host")
    explain = ovf.add("explain", "every element of an OVF: used for what, or why not", _explain)
    documents.add_source(explain)
    explain.add_argument("--only", choices=("used", "ignored", "unknown"), help="no others")
    explain.add_argument("--json", action="store_true", help="a list of objects")
    translate = ovf.add("translate", "what VDSM is given for an OVF, and other forms", _translate)
    documents.add_source(translate)
    translate.add_argument("--to", choices=FORMATS, required=True, help="the form wanted")
    translate.add_argument("--domain", metavar="UUID", help="storage domain, where no disk tells")
    translate.add_argument(
        "--rebuild",
        action="store_true",
        help="with --to ovf: make the EngineXml anew from the OVF's own fields, after an edit",
    )
    history = ovf.asking("history", "the versions that this host has accepted", _history)
    history.add_argument("--json", action="store_true", help="a list of objects")
    diff = ovf.asking("diff", "what changed between two definitions, by meaning", _diff)
    for name in ("old", "new"):
        diff.add_argument(name, help="a version's number, 'current', or a file")
    rollback = ovf.asking(
        "rollback",
        "put an earlier version into the store again",
        _rollback,
        timeout_seconds=PUT_SECONDS,
    )
    rollback.add_argument("number", type=int, help="of `ha-agent ovf history`")
    add_force(rollback)
    export = ovf.asking("export", "write this host's history to a backup file", _export)
    export.add_argument("file", type=Path, metavar="FILE", help="replaced when it is there")
    load = ovf.asking("import", "add a backup's versions to this host's history", _import)
    load.add_argument("file", type=Path, metavar="FILE")
    accept = ovf.asking(
        "accept", "use a definition that the guard holds back, on this host", _accept
    )
    accept.add_argument("identity", help="as `ha-agent status` prints it")
    add_force(accept)


def add_force(parser: argparse.ArgumentParser) -> None:
    """Add --force, which overrides the guard where a person may."""
    parser.add_argument(
        "--force", action="store_true", help="insist, where the guard lets a person insist"
    )


def _explain(command: Command) -> int:
    from ha_agent.ovfstore.ovf_explain import VERDICTS, explain_ovf

    document = documents.chosen(command)
    if document.is_vm_conf:
        raise BadInput(
            "not an OVF but a vm.conf; translate it with --to ovf", where=document.where
        )
    rows = explain_ovf(document.data, where=document.where)
    only = command.arguments.only
    chosen = [row for row in rows if only in (None, row.verdict)]
    if command.arguments.json:
        keys = ("path", "line", "value", "verdict", "why")
        print(json.dumps([{key: getattr(row, key) for key in keys} for row in chosen], indent=2))
        return DONE
    meaning = documents.understood(document)
    print(printable(f"{meaning.vm.name}, VM {meaning.vm.uuid}"))
    print(printable(_source(meaning)))
    _print_rows(chosen, {row.path.rpartition("/")[0] for row in rows})
    counts = ", ".join(
        f"{sum(row.verdict == verdict for row in rows)} {verdict}" for verdict in VERDICTS
    )
    print(f"\n{len(rows)} elements and attributes: {counts}")
    _say(meaning.vm.unreadable + meaning.vm.notes)
    return DONE


def _source(meaning: documents.Meaning) -> str:
    """Tell what a start takes: EngineXml as it is, or what explain calls used."""
    from ha_agent.ovfstore.translate import domain_xml

    try:
        domain = domain_xml(meaning.vm, storage_domain_uuid=documents.domain_of(meaning, None))
    except BadInput as error:
        return f"It can't be started: {error}."
    if domain.source == "engine_xml":
        return (
            "Its EngineXml is sound: a start takes that as it is. All else that is called used"
            " serves checks and comparisons, and a start without EngineXml."
        )
    if meaning.vm.engine_xml is not None:
        return f"{domain.notes[0]}. A start is made of what is called used below."
    return "It has no EngineXml: a start is made of what is called used below."


def _print_rows(rows: Sequence[Explained], parents: Collection[str]) -> None:
    """Print a line for each row, below a heading for the element that it is in."""
    heading = ""
    for row in rows:
        above, _, name = row.path.rpartition("/")
        if row.path in parents:
            heading = row.path
            print()
            print(printable(f"{heading}  ({row.verdict}: {row.why})"))
            continue
        if above != heading:
            heading = above
            print()
            print(printable(heading or "Envelope"))
        value = f" = {row.value}" if row.value else ""
        print(printable(f"  {row.verdict:8} {name + value:<48}  {row.why}"))


def _translate(command: Command) -> int:
    from ha_agent.ovfstore.definition_json import definition_as_json
    from ha_agent.ovfstore.ovf_build import build_ovf
    from ha_agent.ovfstore.translate import domain_xml, with_engine_xml
    from ha_agent.ovfstore.vmconf import vm_conf_text

    wanted, given = command.arguments.to, command.arguments.domain
    document = documents.chosen(command)
    meaning = documents.understood(document, given)
    vm = meaning.vm
    _say(meaning.invented + vm.unreadable + vm.notes)
    if wanted == "json":
        _write(definition_as_json(vm))
    elif wanted == "ovf" and not document.is_vm_conf and not command.arguments.rebuild:
        write_bytes(document.data)
    else:
        domain_uuid = documents.domain_of(meaning, given)
        if wanted == "ovf":
            if vm.engine_xml is None or command.arguments.rebuild:
                vm, notes = with_engine_xml(vm, storage_domain_uuid=domain_uuid)
                _say(notes)
            _write(build_ovf(vm).decode())
        else:
            domain = domain_xml(vm, storage_domain_uuid=domain_uuid)
            _say(domain.notes)
            _write(domain.xml if wanted == "xml" else vm_conf_text(vm, domain.xml))
    return DONE


def _history(command: Command) -> int:
    versions, problems = _versions(command.ask_map("ovf.history"))
    if command.arguments.json:
        print(json.dumps(versions, indent=2))
        return DONE
    print(f"{'version':>7}  {'accepted':20}  {'identity':12}  {'how':8}  {'memory':>10}  from")
    for version in versions:
        when = WallTime(float(version["accepted_at_unix_seconds"])).iso()
        forced = f", forced past {', '.join(version['codes'])}" if version["codes"] else ""
        print(
            printable(
                f"{version['number']:>7}  {when:20}  {version['identity']:12}  {version['how']:8}"
                f"  {version['memory_mib']:>6} MiB  {version['source']}{forced}"
            )
        )
    _say(str(problem) for problem in problems)
    return DONE


def _versions(answer: dict[str, Any]) -> tuple[list[dict[str, Any]], list[Any]]:
    versions, problems = answer.get("versions"), answer.get("problems")
    if not isinstance(versions, list) or not isinstance(problems, list):
        raise BadInput("no list of versions", where="broker.ovf.history")
    return versions, problems


def _diff(command: Command) -> int:
    from ha_agent.ovfstore.difference import differences

    old, new = (
        documents.understood(documents.named(command, name)).vm
        for name in (command.arguments.old, command.arguments.new)
    )
    sentences = differences(old, new)
    for sentence in sentences:
        print(printable(sentence))
    if not sentences:
        print("no difference in meaning")
    return DONE


def _rollback(command: Command) -> int:
    document = documents.version(command, command.arguments.number)
    return put(command, document.data, "rollback")


def put(command: Command, document: bytes, how: str) -> int:
    """Store a document and tell what changed. The broker says so when the guard refuses."""
    answer = command.ask_map(
        "ovf.put", {"document": document, "force": command.arguments.force, "how": how}
    )
    for sentence in answer.get("differences", ()):
        print(printable(sentence))
    for copy in answer.get("copies", ()):
        print(
            f"copy {copy['volume_uuid']}: {copy['written_bytes']} bytes written,"
            f" archive of {copy['size_bytes']} bytes, durable"
        )
    _say(str(problem) for problem in answer.get("problems", ()))
    _say(f"forced: {code}" for code in answer.get("codes", ()))
    _say(str(note) for note in answer.get("notes", ()))
    print(
        f"definition {answer.get('identity')} is in the store; it applies at the VM's next start"
    )
    return DONE


def _accept(command: Command) -> int:
    answer = command.ask_map(
        "ovf.accept",
        {"identity": command.arguments.identity, "force": command.arguments.force},
    )
    print(f"definition {answer.get('identity')} is in use on this host")
    return DONE


def _export(command: Command) -> int:
    from ha_agent.atomic_file import replace_file
    from ha_agent.ovfstore.backup import build_backup
    from ha_agent.ovfstore.version import Version

    path = command.arguments.file
    versions = []
    for told in _versions(command.ask_map("ovf.history"))[0]:
        version = Version(
            number=told["number"],
            sha256=told["sha256"],
            accepted_at=WallTime(float(told["accepted_at_unix_seconds"])),
            source=told["source"],
            how=told["how"],
            vm_name=told["vm_name"],
            memory_mib=told["memory_mib"],
            last_updated=told["last_updated"],
            approved=tuple(told["codes"]),
        )
        # One at a time: all of them may be more than the socket takes in one answer.
        versions.append((version, documents.version(command, version.number).data))
    try:
        replace_file(path, build_backup(versions), mode=0o600)
    except OSError as error:
        raise EnvironmentFault(f"{path}: {error.strerror}") from error
    print(f"{len(versions)} versions are in {path}")
    return DONE


def _import(command: Command) -> int:
    from ha_agent.ovfstore.backup import build_backup, read_backup

    path = command.arguments.file
    content, _ = documents.read_file(str(path), _BACKUP_LIMIT_BYTES, ", and so no backup")
    found = read_backup(content, where=str(path), last=_IMPORT_LIMIT)
    added: list[int] = []
    for version, document in found:
        backup = build_backup([(version, document)])
        answer = command.ask_map("ovf.import", {"backup": backup, "where": path.name})
        added.extend(answer.get("added", ()))
    numbers = ", ".join(str(number) for number in added) or "none: all were here already"
    print(f"{len(found)} versions read; added to this host's history: {numbers}")
    return DONE


def _say(sentences: Iterable[str]) -> None:
    """Tell what is no part of the output proper."""
    for sentence in sentences:
        print(printable(f"ha-agent: note: {sentence}"), file=sys.stderr)


def _write(text: str) -> None:
    """UTF-8 whatever the terminal's: XML says that it is."""
    write_bytes((text if text.endswith("\n") else text + "\n").encode("utf-8", "replace"))


def write_bytes(data: bytes) -> None:
    """Print a document as it is: its identity is that of its bytes."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def printable(text: str) -> str:
    """Return the text without what could steer a terminal: it is from another machine."""
    return "".join(c if c.isprintable() else "?" for c in text)
