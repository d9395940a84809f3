# SPDX-License-Identifier: Apache-2.0
"""HAClient: what VDSM, set-up's tools and others ask of the hosted engine's broker.

Names, arguments and answers are the predecessor's (version 2.5). What differs, all of it for the
better of who calls:

- Every call has a deadline, 10 s for a question and 60 s for a change unless `timeout`, in
  seconds, says otherwise; those that the predecessor's callers give no time have one, too.
- Creating a client reads nothing, changes no logging, and can't fail. A client may be used by
  any number of threads.
- Global maintenance is set when the call returns: the broker has read it back from storage.

Raised are lib.exceptions: BrokerConnectionError and DisconnectionError, which are OSErrors, where
there was no answer, and RequestError where it was a refusal.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Optional

from ..env.settings import Settings, read_settings
from ..lib import wire
from ..lib.exceptions import RequestError
from ..lib.util import to_bool

__all__ = ["GlobalMdFlags", "HAClient", "MaintenanceMode", "StatModes"]

ASK_SECONDS = 10.0
CHANGE_SECONDS = 60.0
STORAGE_SECONDS = 600.0
_log = logging.getLogger(__name__)


class StatModes:
    """What get_all_stats is to tell of: the cluster and its hosts, or one of them."""

    ALL = "ALL"
    HOST = "HOST"
    GLOBAL = "GLOBAL"


class GlobalMdFlags:
    """Flags of the whole cluster."""

    MAINTENANCE = "maintenance"


class MaintenanceMode:
    """Of this host on the engine's behalf, of this host by an operator, of the cluster.

    A host is in local maintenance while either of the first two is set; they don't end each other.
    """

    LOCAL = "LOCAL"
    LOCAL_MANUAL = "LOCAL_MANUAL"
    GLOBAL = "GLOBAL"


_FLAG_KEYS = {
    MaintenanceMode.LOCAL: "local_maintenance",
    MaintenanceMode.LOCAL_MANUAL: "local_maintenance_manual",
}


class HAClient:
    """One host's view of the hosted engine's cluster."""

    StatModes = StatModes
    GlobalMdFlags = GlobalMdFlags
    MaintenanceMode = MaintenanceMode

    def __init__(
        self, log: bool = False, *, settings: Optional[Settings] = None, **_ignored: Any
    ) -> None:
        """`log` is taken and not needed. With `settings` no file of this host is read."""
        del log
        self._settings = settings

    # How they are ------------------------------------------------------------------------

    def get_all_stats(
        self, mode: str = StatModes.ALL, timeout: Optional[float] = None
    ) -> dict[int, dict[str, Any]]:
        """Return what is known of the cluster, under 0, and of each host, under its id.

        The cluster: {"maintenance": bool}; it is left out while that is not known. A host:
        host-id and host-ts (whole numbers), score (0 to 3400), engine-status (JSON of vm, health,
        detail and, where not good, reason; of a host without live-data it says "unknown", as
        `hosted-engine --vm-status --json` does), hostname, maintenance (local), stopped, crc32,
        conf_on_shared_storage, local_conf_timestamp, extra (lines of key=value; left out when
        empty), live-data: whether all that is of now.
        """
        status = self._call("status", {}, _seconds(timeout, ASK_SECONDS))
        stats: dict[int, dict[str, Any]] = {}
        try:
            if mode != StatModes.HOST and status["global_maintenance"] is not None:
                stats[0] = {GlobalMdFlags.MAINTENANCE: bool(status["global_maintenance"])}
            if mode != StatModes.GLOBAL:
                # Of a block that was never readable there is nothing to tell.
                hosts = [host for host in status["hosts"] if host["changed_at"] is not None]
                stats.update({int(host["host_id"]): _host_stats(host) for host in hosts})
        except (KeyError, TypeError, ValueError) as error:
            raise _unexpected("status", error) from error
        return stats

    def get_all_host_stats(self, timeout: Optional[float] = None) -> dict[int, dict[str, Any]]:
        """Return what is known of each host, by its id."""
        return self.get_all_stats(StatModes.HOST, timeout)

    def get_local_host_id(self) -> Optional[int]:
        """Return this host's id, None on a host that is none of a hosted engine.

        It is in files, and the broker is not asked. Raises OSError when one can't be read.
        """
        return self._found().host_id

    def get_local_host_score(self, timeout: Optional[float] = None) -> int:
        """Return this host's score, 0 for one that is not live."""
        host = self.get_all_host_stats(timeout).get(self.get_local_host_id() or 0)
        return int(host["score"]) if host is not None and host["live-data"] else 0

    def is_deployed(self) -> bool:
        """Return whether this host is one of a hosted engine. Raises nothing."""
        try:
            return self.get_local_host_id() is not None
        except OSError as error:
            # Files that we may not read are there: only deployment makes them.
            _log.warning("%s", error)
            return isinstance(error, PermissionError)

    # Maintenance -------------------------------------------------------------------------

    def set_maintenance_mode(self, mode: str, value: Any, timeout: Optional[float] = None) -> None:
        """Set or end a maintenance, one of MaintenanceMode. `value` is a flag, or its text.

        Raises ValueError for another mode or value, besides what every change may raise.
        """
        enabled = to_bool(value)
        if mode == MaintenanceMode.GLOBAL:
            params = {"scope": "global", "enabled": enabled}
            self._call("maintenance.set", params, _seconds(timeout, CHANGE_SECONDS))
        elif mode in _FLAG_KEYS:
            self.set_shared_config(_FLAG_KEYS[mode], str(enabled), "ha", timeout)
        else:
            raise ValueError(f"Invalid maintenance mode: {mode}")

    def set_global_md_flag(self, flag: str, value: Any, timeout: Optional[float] = None) -> None:
        """Set a flag of the whole cluster, one of GlobalMdFlags."""
        if flag != GlobalMdFlags.MAINTENANCE:
            raise ValueError(f"Unknown metadata flag: {flag}")
        self.set_maintenance_mode(MaintenanceMode.GLOBAL, value, timeout)

    # Configuration -----------------------------------------------------------------------

    def get_shared_config(
        self, key: str, config_type: Optional[str] = None, timeout: Optional[float] = None
    ) -> list[Optional[str]]:
        """Return [value, type] of a key of the configuration; a value None is not set.

        `config_type`: he_local, he_shared, ha or broker; without it, the one that has the key.
        Raises KeyError where none has it, and RequestError where several have.
        """
        answer = self._keys("conf.get_key", _seconds(timeout, CHANGE_SECONDS), key, config_type)
        return [answer.get("value"), str(answer.get("store"))]

    def set_shared_config(
        self,
        key: str,
        value: Any,
        config_type: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> None:
        """Set a key of the configuration. Raises as `get_shared_config`."""
        self._keys(
            "conf.set_key", _seconds(timeout, CHANGE_SECONDS), key, config_type, value=str(value)
        )

    def get_all_config_keys(
        self, config_type: Optional[str] = None, timeout: Optional[float] = None
    ) -> dict[str, list[str]]:
        """Return the names of the keys of one type, or of all, by type."""
        params = {} if config_type is None else {"store": config_type}
        found = self._call("conf.keys", params, _seconds(timeout, CHANGE_SECONDS)).get("keys")
        if not isinstance(found, dict):
            raise _unexpected("conf.keys", found)
        return {str(store): [str(key) for key in keys] for store, keys in found.items()}

    # Storage -----------------------------------------------------------------------------

    def connect_storage_server(self, timeout: Optional[float] = None) -> None:
        """Have VDSM connect the hosted engine's storage domain."""
        self._call("storage.connect", {}, _seconds(timeout, STORAGE_SECONDS))

    def disconnect_storage_server(self, timeout: Optional[float] = None) -> None:
        """Have VDSM disconnect it; refused unless this host is in local maintenance."""
        self._call("storage.disconnect", {}, _seconds(timeout, STORAGE_SECONDS))

    def reset_lockspace(self, force: bool = False, timeout: Optional[float] = None) -> None:
        """Make the lockspace anew, if nobody uses it.

        Without `force` the cluster has to be in global maintenance. With it or without, nothing
        is written unless the broker can prove of every host id that it is free or expired: the
        predecessor's checks failed open, and its `force` went over live hosts.
        """
        if not force:
            cluster = self.get_all_stats(StatModes.GLOBAL).get(0, {})
            if not cluster.get(GlobalMdFlags.MAINTENANCE, False):
                what = "Lockfile reset can be performed in global maintenance mode only."
                raise RequestError(what, "refused")
        answer = self._call("lockspace.repair", {}, _seconds(timeout, STORAGE_SECONDS))
        for line in answer.get("done", ()):
            _log.info("%s", line)

    def clean_metadata(self, host_id: int, timeout: Optional[float] = None) -> str:
        """Remove a host's status that is not live any more; returns the host's name."""
        params = {"host_id": int(host_id)}
        return str(
            self._call("host.remove", params, _seconds(timeout, CHANGE_SECONDS)).get("removed")
        )

    # Asking ------------------------------------------------------------------------------

    def _found(self) -> Settings:
        return read_settings() if self._settings is None else self._settings

    def _keys(
        self, method: str, timeout_seconds: float, key: str, store: Optional[str], **more: Any
    ) -> dict[str, Any]:
        params = {"key": key, **more, **({} if store is None else {"store": store})}
        try:
            return self._call(method, params, timeout_seconds)
        except RequestError as error:
            if error.code == "not_found":
                raise KeyError(f"Configuration key not found: {error}") from error
            raise

    def _call(
        self, method: str, params: Mapping[str, Any], timeout_seconds: float
    ) -> dict[str, Any]:
        answer = wire.call(self._found().socket, method, params, timeout_seconds)
        # storage.connect and storage.disconnect answer true.
        return answer if isinstance(answer, dict) else {}


def _host_stats(host: Mapping[str, Any]) -> dict[str, Any]:
    is_live = bool(host["alive"]) and not host["problem"]
    stats: dict[str, Any] = {
        "host-id": int(host["host_id"]),
        "host-ts": int(host["timestamp_seconds"]),
        "score": int(host["score"]),
        "engine-status": json.dumps(_engine_status(host["engine_status"], is_live)),
        "hostname": str(host["host_name"]),
        "maintenance": bool(host["maintenance"]),
        "stopped": bool(host["stopped"]),
        "crc32": str(host["crc32"]),
        "conf_on_shared_storage": bool(host["conf_on_shared_storage"]),
        "local_conf_timestamp": int(host["local_conf_timestamp_seconds"]),
    }
    extra = _extra_lines(str(host["extra"]))
    if extra:
        stats["extra"] = extra
    stats["live-data"] = is_live
    return stats


def _engine_status(told: Mapping[str, Any], is_live: bool) -> dict[str, Any]:
    """Return what is told where it is of now. Callers that don't look at live-data, such as
    Cockpit's page, took a dead host for one that runs the engine."""
    if is_live and {"vm", "health"} <= set(told):
        return dict(told)
    last = told.get("vm", "unknown")
    reason = "this host does not tell" if is_live else f"stale-data, last known: {last}"
    return {"vm": "unknown", "health": "unknown", "detail": "unknown", "reason": reason}


def _extra_lines(extra: str) -> str:
    """Return the lines that have a key and a value, with no "=" in it: callers split at each."""
    lines = []
    for line in extra.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            lines.append(f"{key}={value.replace('=', ':')}\n")
    return "".join(lines)


def _seconds(timeout: Optional[float], usual: float) -> float:
    return usual if timeout is None else timeout


def _unexpected(method: str, error: Any) -> RequestError:
    return RequestError(f"the HA broker's answer to {method} is not as expected: {error!r}")
