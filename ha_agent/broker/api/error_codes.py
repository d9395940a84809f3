# SPDX-License-Identifier: Apache-2.0
"""Every error code that the operators' socket answers with, and what it means. Pure.

The one list: docs/api.md prints it, a verb declares which of its own it may give (verb.py), and
a test finds codes that are raised anywhere and are not here. A code is for programs and never
changes its meaning; the sentence that comes with it is for people and may.
"""

from __future__ import annotations

from ha_agent.broker.rpc import codec as rpc_codec

# What any call may be answered with, whatever the verb.
COMMON = (
    rpc_codec.CODE_BAD_ARGUMENT,
    rpc_codec.CODE_BAD_MESSAGE,
    rpc_codec.CODE_BUSY,
    rpc_codec.CODE_DEADLINE,
    rpc_codec.CODE_DENIED,
    rpc_codec.CODE_INTERNAL,
    rpc_codec.CODE_STOPPING,
    rpc_codec.CODE_UNKNOWN_METHOD,
)

ERROR_CODES = {
    rpc_codec.CODE_BAD_ARGUMENT: (
        "An argument is unknown, missing, of the wrong type or out of its bounds; the message "
        "names verb and argument."
    ),
    rpc_codec.CODE_BAD_MESSAGE: (
        "Bytes that are no message of this protocol, or one beyond its limits; the connection "
        "is closed."
    ),
    rpc_codec.CODE_BUSY: (
        "All connections are in use, or all that your user may have; come back later."
    ),
    rpc_codec.CODE_DEADLINE: (
        "The call did not end within its deadline. What it had begun may still take effect."
    ),
    rpc_codec.CODE_DENIED: (
        "Your user may look, but not do that: root, [broker] socket_user and socket_group may."
    ),
    rpc_codec.CODE_INTERNAL: "A fault in the broker; its log says more.",
    rpc_codec.CODE_NOT_FOUND: "What was asked for is not there.",
    rpc_codec.CODE_NOT_READY: "What the answer needs is not known yet, as just after a start.",
    rpc_codec.CODE_STOPPING: "The broker is stopping; systemd starts it anew.",
    rpc_codec.CODE_UNKNOWN_METHOD: (
        "There is no such verb in this version; the message names the nearest one."
    ),
    "bad_document": "The document can't be used: the message says what is wrong, and where.",
    "failed": "It was tried and is not known to have worked.",
    "guard": (
        "The definition would not start, or would hurt; `details.refusals` lists why, and "
        "whether a person may insist."
    ),
    "no_store": "There is no OVF_STORE volume.",
    "no_such_version": "The history has no version of that number.",
    "no_whole_copy": "No copy of the OVF_STORE is whole; writing would destroy what may be left.",
    "not_spm": "Only the storage pool's manager may write there, and that is another host.",
    "old_version": "The store has a newer definition already, or had this one and left it.",
    "one_copy": "There is only one OVF_STORE volume: a write that is cut off would leave none.",
    "overtaken": "Another host's order came in between; look, and ask again.",
    "pool_not_connected": "The storage pool is not connected on this host, which may not write.",
    "refused": "Not in the present state; the message says what stands against it.",
    "too_large": "The document is longer than [push] max_document_kib.",
    "storage": "Shared storage did not answer, or not well.",
}
