# SPDX-License-Identifier: Apache-2.0
"""`Config`, through which set-up's tools ask for single keys.

This host's hosted-engine.conf is read as it is; the other stores are the broker's to tell, and
everything that is set goes through it (client.client says what may be raised then).
"""

from __future__ import annotations

from typing import Any, Optional

from ..client.client import HAClient
from ..lib.util import to_bool
from .config_constants import BROKER, ENGINE, HA, HE_CONF, LOCAL_MAINTENANCE
from .config_constants import LOCAL_MAINTENANCE_MANUAL as _MANUAL
from .settings import HOSTED_ENGINE_CONF, read_pairs

__all__ = ["BROKER", "ENGINE", "HA", "HE_CONF", "Config"]

_STORES = (ENGINE, HE_CONF, HA, BROKER)


class Config:
    """The configuration's four stores; `logger` is taken for the predecessor's sake."""

    def __init__(
        self,
        logger: Any = None,
        *,
        client: Optional[HAClient] = None,
        hosted_engine_conf: str = HOSTED_ENGINE_CONF,
    ) -> None:
        del logger
        self._path = hosted_engine_conf
        self._client = client or HAClient()

    def get(self, type: str, key: str, raise_on_none: bool = False) -> Optional[str]:
        """Return a key's value, None where it has none; then ValueError with `raise_on_none`.

        Raises KeyError for a store that there is not.
        """
        if type not in _STORES:
            raise KeyError(f"no configuration type {type!r}: there are {', '.join(_STORES)}")
        if type == ENGINE:
            value = read_pairs(self._path).get(key)
        else:
            value = self._client.get_shared_config(key, type)[0]
        if raise_on_none and value in (None, "None", ""):
            raise ValueError(f"{key!r} of {type} can't be {value!r}")
        return value

    def set(self, type: str, key: str, value: Any) -> None:
        """Set a key of a store."""
        self._client.set_shared_config(key, str(value), type)

    def get_local_maintenance(self) -> bool:
        """Return whether this host is in local maintenance, by whom ever."""
        keys = (LOCAL_MAINTENANCE, _MANUAL)
        return any(to_bool(self._client.get_shared_config(key, HA)[0]) for key in keys)
