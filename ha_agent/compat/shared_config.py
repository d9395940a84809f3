# SPDX-License-Identifier: Apache-2.0
"""The predecessor's four stores of configuration, by key: which is where, which keys each has.

This module takes texts and gives texts; broker/store/shared_keys.py reads and writes them.

    store       what it is                                          form
    he_local    this host's hosted-engine.conf                      key=value
    he_shared   hosted-engine.conf in the configuration volume,     key=value
                from which hosts that join get theirs
    ha          this host's ha.conf: its two local maintenance      key=value
                flags (maintenance_file.py)
    broker      broker.conf in the configuration volume             section.key

Names of the stores, and that a key is looked for in all of them when no store is named, are the
predecessor's (facts/predecessor-and-peers.md 2.1; its env/config_constants.py and
env/config.py). A key of broker.conf is written "email.smtp-server"; one without a "." belongs to
the section "default", as there.

A key can be told, and set, where it is already, and so can those that may be missing: the network
test's three, the two flags of ha.conf, what broker.conf is known to hold, and our own settings as
`ha_agent_<section>_<key>`. Any other is refused, so that a slip is not stored for all hosts; so
is a value with which no daemon would start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Optional

from ha_agent import maintenance_file
from ha_agent.broker.api.verb import near
from ha_agent.compat import conf_writer, hosted_engine_conf, ini_conf
from ha_agent.compat.legacy_keys import HOSTED_ENGINE, own_settings, translated
from ha_agent.compat.legacy_values import Pairs
from ha_agent.config.schema import SECTIONS
from ha_agent.errors import BadInput, HaAgentError

HE_LOCAL, HE_SHARED, HA, BROKER = STORES = ("he_local", "he_shared", "ha", "broker")
SHARED_FILES: Mapping[str, str] = {HE_SHARED: "hosted-engine.conf", BROKER: "broker.conf"}
"""Of the stores in the configuration volume, the file there."""

FLAGS = ("local_maintenance", "local_maintenance_manual")
# What may be missing from the files (facts/ovf-and-volumes.md, 4.1).
_NETWORK_KEYS = ("network_test", "tcp_t_address", "tcp_t_port")
_BROKER_KEYS = (
    "email.smtp-server",
    "email.smtp-port",
    "email.smtp-timeout",
    "email.source-email",
    "email.destination-emails",
    "notify.state_transition",
)


class KeyNotFound(HaAgentError):
    """No store has such a key, nor may have it."""


class SeveralStores(HaAgentError):
    """More than one store has the key; `stores` are their names."""

    def __init__(self, key: str, stores: Sequence[str]) -> None:
        super().__init__(f"{key} is in {' and in '.join(stores)}: say which one")
        self.stores = tuple(stores)


class BadValue(HaAgentError):
    """The value can't be the key's. The text names the key, never the value."""


def values_in(store: str, text: str, where: str) -> dict[str, str]:
    """Return the keys in the text of a store's file, with their values, "" for one without.

    Raises BadInput, with `where` and the line.
    """
    if store == BROKER:
        pairs = ini_conf.parse(text, where).values
        return {f"{section}.{key}": value.text for (section, key), value in pairs.items()}
    if store == HA:
        state = maintenance_file.parse(text, where)
        flags = dict(zip(FLAGS, (str(state.by_engine), str(state.by_operator))))
        return {**flags, **dict(state.others)}
    conf = hosted_engine_conf.parse(text, where)
    return {key: conf.values.get(key, "") for key in conf.lines}


def name_in(store: str, key: str) -> str:
    """Return the key as `values_in` has it."""
    if store != BROKER:
        return key
    section, dot, option = key.partition(".")
    return f"{section}.{option.lower()}" if dot else f"default.{key.lower()}"


def is_optional(store: str, key: str) -> bool:
    """Tell whether the key may be in the store though it is not there yet."""
    if store in (HE_LOCAL, HE_SHARED):
        return key in _NETWORK_KEYS or _own_setting(key) is not None
    return name_in(store, key) in (_BROKER_KEYS if store == BROKER else FLAGS)


def keys_of(store: str, values: Mapping[str, str]) -> list[str]:
    """Return the keys that can be told and set there, sorted. Our own are listed where they are
    set only: there are some two hundred."""
    optional = {HE_LOCAL: _NETWORK_KEYS, HE_SHARED: _NETWORK_KEYS, HA: FLAGS, BROKER: _BROKER_KEYS}
    return sorted({*values, *optional[store]})


def store_of(key: str, stores: Mapping[str, Mapping[str, str]]) -> str:
    """Return the store that `key` belongs to. `stores` has the values of each that was read.

    Where it is counts before where it might be. Raises KeyNotFound, SeveralStores.
    """
    found = [store for store, values in stores.items() if name_in(store, key) in values]
    found = found or [store for store in stores if is_optional(store, key)]
    if len(found) == 1:
        return found[0]
    if found:
        raise SeveralStores(key, found)
    known = {name for store, values in stores.items() for name in keys_of(store, values)}
    raise KeyNotFound(f"no key {key!r:.80} in {', '.join(stores)}{near(key, known)}")


def with_key(store: str, text: str, key: str, value: str, *, where: str) -> str:
    """Return the text of a hosted-engine.conf or broker.conf with `key` set, all else as it was.

    Raises KeyNotFound, BadValue, and BadInput when the text is none of such a file.
    """
    values = values_in(store, text, where)
    store_of(key, {store: values})
    _check_own(key, value)
    try:
        if store == BROKER:
            section, _, option = name_in(store, key).partition(".")
            return conf_writer.set_ini_keys(text, {(section, option): value}, where=where)
        made = conf_writer.set_keys(text, {key: value}, where=where)
    except BadInput as fault:
        # The text was read already, so that it is the value, or the name of a new key.
        raise BadValue(str(fault)) from fault
    _check_theirs(key, made, where)
    return made


def check_ha_key(text: str, key: str, value: str) -> None:
    """Raise KeyNotFound or BadValue where the key of a ha.conf can't be set to the value."""
    store_of(key, {HA: values_in(HA, text, maintenance_file.FILE_NAME)})
    state = maintenance_file.LocalMaintenance()
    try:
        maintenance_file.with_key(state, key, value)
    except BadInput as fault:
        raise BadValue(fault.what) from fault


def _own_setting(key: str) -> Optional[tuple[str, str]]:
    """Return section and key of the setting that `key` is in hosted-engine.conf, None for none.

    What config.py would not take from there is none: the daemons would not start with it.
    """
    known = [f"{name}.{one.name}" for name, of in SECTIONS.items() for one in fields(of)]
    for said in own_settings(Pairs("", {}, {key: 1}), known):
        if not said.fault:
            section, _, name = said.key.partition(".")
            return section, name
    return None


def _check_theirs(key: str, text: str, where: str) -> None:
    """Raise BadValue where our daemons would not start with what `key` says in `text`."""
    pairs = hosted_engine_conf.parse(text, where)
    place = f"{where}:{pairs.lines[key]}"
    for said in translated(HOSTED_ENGINE, pairs):
        # What another key becomes may depend on this one, such as the domain's path on storage.
        if said.name != key and not (said.fault and said.where == place):
            continue
        section, _, name = said.key.partition(".")
        field = next(one for one in fields(SECTIONS[section]) if one.name == name)
        try:
            told = said.fault
            if not told:
                field.metadata["kind"].parse(said.text)
        except ValueError:
            told = f"expected {field.metadata['kind'].expected}"
        if told:
            raise BadValue(told if told.startswith(f"{key}:") else f"{key}: {told}")


def _check_own(key: str, value: str) -> None:
    place = _own_setting(key)
    if place is None:
        return
    section, name = place
    field = next(one for one in fields(SECTIONS[section]) if one.name == name)
    if not value and field.metadata["derived"]:
        return
    kind = field.metadata["kind"]
    try:
        kind.parse(value)
    except ValueError:
        raise BadValue(f"{key}: expected {kind.expected}") from None
