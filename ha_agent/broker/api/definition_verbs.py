# SPDX-License-Identifier: Apache-2.0
"""The declarations of the verbs about the engine VM's definition; api/definition.py carries them
out. Pure.

Storage work is several volumes, each read, written and read again, and a wait for another writer
perhaps (store/writer.py, WriterDeadlines). The deadlines are for the caller only: what writes goes
on.
"""

from __future__ import annotations

from ha_agent.broker.api.verb import Argument, Field, Kind, Verb, Who
from ha_agent.broker.rpc.codec import DEFAULT_MAX_MESSAGE_BYTES

PUT_HOWS = ("put", "pushed", "rollback")
_STORE = ("bad_document", "storage")
_NOT_WRITABLE = ("no_store", "one_copy", "no_whole_copy", "not_spm", "pool_not_connected")
_IDENTITY = Field("identity", Kind.TEXT, "of the definition: changes with what it says")
_DOCUMENT = Field("document", Kind.BYTES, "the OVF")
_FORCE = Argument(
    "force", Kind.FLAG, "insist, where the guard says that a person may", default=False
)
_COPIES = Field(
    "copies", Kind.LIST, "each OVF_STORE volume: image_uuid, volume_uuid, usable, sentences"
)
_PROBLEMS = Field("problems", Kind.LIST, "sentences about what could not be used")
_FILES = (
    Field("volume_uuid", Kind.TEXT, "of the configuration volume"),
    Field("files", Kind.LIST, "each file: name, size_bytes"),
    Field("notes", Kind.LIST, "sentences about what was odd"),
)
_FILE_NAME = Argument("name", Kind.TEXT, "name of the file, such as vm.conf", most=100)


def _bytes(name: str, what: str) -> Argument:
    return Argument(name, Kind.BYTES, what, most=DEFAULT_MAX_MESSAGE_BYTES, unit="bytes")


_OVF = (
    Verb(
        "ovf.get",
        "Tells the definition in use.",
        who=Who.CHANGE,
        result=(
            _IDENTITY,
            _DOCUMENT,
            Field("source", Kind.TEXT, "where it came from"),
            Field("last_updated", Kind.TEXT, "the store's own date of it"),
            Field("accepted_at_unix_seconds", Kind.NUMBER, "since when it is in use", unit="s"),
        ),
        errors=(*_STORE, "not_ready"),
    ),
    Verb(
        "ovf.history",
        "Lists the definitions that this host has used.",
        result=(
            Field(
                "versions",
                Kind.LIST,
                "each version: number, identity, sha256, accepted_at_unix_seconds, how, source, "
                "last_updated, vm_name, memory_mib, codes",
            ),
            _PROBLEMS,
        ),
        errors=_STORE,
    ),
    Verb(
        "ovf.version",
        "Tells one definition of the history.",
        who=Who.CHANGE,
        arguments=(Argument("number", Kind.WHOLE, "number of the version"),),
        result=(Field("number", Kind.WHOLE, "of the version"), _IDENTITY, _DOCUMENT),
        errors=(*_STORE, "no_such_version"),
    ),
    Verb(
        "ovf.put",
        "Has the guard judge a definition, writes it to every copy of the store, and uses it.",
        who=Who.CHANGE,
        arguments=(
            _bytes("document", "the OVF"),
            _FORCE,
            Argument("how", Kind.TEXT, "how it came", default="put", choices=PUT_HOWS),
        ),
        result=(
            _IDENTITY,
            Field("last_updated", Kind.TEXT, "the store's date of it", optional=True),
            Field("differences", Kind.LIST, "sentences about what it changes"),
            Field("notes", Kind.LIST, "sentences about what was translated"),
            Field("codes", Kind.LIST, "the guard's refusals that were insisted on"),
            _PROBLEMS,
            Field(
                "copies",
                Kind.LIST,
                "each copy written: volume_uuid, size_bytes, written_bytes, whole, direct, locked",
            ),
        ),
        errors=(*_STORE, "guard", *_NOT_WRITABLE),
        deadline_seconds=600.0,
    ),
    Verb(
        "ovf.accept",
        "Uses a definition of the store that the guard has held back.",
        who=Who.CHANGE,
        arguments=(Argument("identity", Kind.TEXT, "which one, as status tells it"), _FORCE),
        result=(_IDENTITY,),
        errors=(*_STORE, "guard"),
    ),
    Verb(
        "ovf.import",
        "Adds the versions of a backup to the history.",
        who=Who.CHANGE,
        arguments=(
            _bytes("backup", "what `ha-agent ovf backup` wrote"),
            Argument("where", Kind.TEXT, "its name, for messages", default="the backup"),
        ),
        result=(Field("added", Kind.LIST, "numbers of the new versions"),),
        errors=_STORE,
    ),
    Verb(
        "can_do",
        "Tells whether an action of the engine's would hurt the hosted engine.",
        arguments=(
            Argument("action", Kind.TEXT, "such as disk.remove", most=100),
            Argument(
                "object",
                Kind.TEXTS,
                "what it is done to, such as disk: <uuid>",
                default={},
                most=100,
            ),
        ),
        result=(
            Field("allowed", Kind.FLAG, "whether it may be done"),
            Field("code", Kind.TEXT, "the reason, for programs"),
            Field("sentence", Kind.TEXT, "the reason, for people"),
        ),
        errors=_STORE,
    ),
)

_VOLUMES = (
    Verb(
        "store.list",
        "Lists the OVF_STORE's volumes.",
        who=Who.CHANGE,
        result=(_COPIES, _PROBLEMS),
        errors=_STORE,
        deadline_seconds=120.0,
    ),
    Verb(
        "store.verify",
        "Reads every copy of the OVF_STORE and compares them.",
        who=Who.CHANGE,
        result=(_COPIES, _PROBLEMS, Field("good", Kind.FLAG, "whether all is well")),
        errors=_STORE,
        deadline_seconds=300.0,
    ),
    Verb(
        "store.create",
        "Makes the OVF_STORE's volumes that are missing.",
        who=Who.CHANGE,
        result=(
            Field("made", Kind.LIST, "each new volume: image_uuid, volume_uuid"),
            Field("count", Kind.WHOLE, "how many there are now"),
        ),
        errors=(*_STORE, *_NOT_WRITABLE),
        deadline_seconds=600.0,
    ),
    Verb(
        "conf.list",
        "Lists the files of the configuration volume.",
        who=Who.CHANGE,
        result=_FILES,
        errors=_STORE,
        deadline_seconds=120.0,
    ),
    Verb(
        "conf.get",
        "Tells one file of the configuration volume.",
        who=Who.CHANGE,
        arguments=(_FILE_NAME,),
        result=(
            Field("name", Kind.TEXT, "of the file"),
            Field("content", Kind.BYTES, "what is in it"),
        ),
        errors=_STORE,
        deadline_seconds=120.0,
    ),
    Verb(
        "conf.put",
        "Writes one file of the configuration volume.",
        who=Who.CHANGE,
        arguments=(_FILE_NAME, _bytes("content", "what is to be in it")),
        result=_FILES,
        errors=_STORE,
        deadline_seconds=300.0,
    ),
)

VERBS = (*_OVF, *_VOLUMES)
