# SPDX-License-Identifier: Apache-2.0
"""The socket's verbs about the broker itself: `version` and `config`.

API_VERSION is the version of the verbs, not of the program. What raises it:
  - a verb, an argument or a field of a result goes, or means something else;
  - an argument that must be given is added, or a bound becomes narrower;
  - a verb becomes one that fewer may call.
What does not: a new verb (it is in `verbs`), a new optional argument (its verb's caller gets
bad_argument from a broker that does not know it), a new field of a map, a new error code of a
verb's own. So a client ignores fields that it does not know, and treats a code that it does not
know as "it was not done, the message says why".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from ha_agent import __version__
from ha_agent.broker.api.arguments import Access, bound
from ha_agent.broker.api.verb import Field, Kind, Verb, Who
from ha_agent.broker.rpc.server import Handler, Peer
from ha_agent.config import layers

API_VERSION = 1

VERBS = (
    Verb(
        "version",
        "Tells the program's version, the version of its verbs, and which it has.",
        result=(
            Field("version", Kind.TEXT, "of the program"),
            Field("api_version", Kind.WHOLE, "of the verbs"),
            Field("verbs", Kind.LIST, "names of all verbs, sorted"),
            Field("features", Kind.LIST, "the broker's parts on this host, sorted"),
            Field("connections", Kind.WHOLE, "that are open on the socket now"),
        ),
    ),
    Verb(
        "config",
        "Tells every value of the configuration that the broker runs with, and where it is from; "
        "secrets are masked.",
        # The file's mode is the administrator's decision, which this must not undo.
        who=Who.CHANGE,
        result=(
            Field("files", Kind.LIST, "the files that were read, in order"),
            Field("values", Kind.LIST, "each value: section, key, text, origin"),
        ),
    ),
)


class AboutApi:
    """The handlers, by name."""

    def __init__(
        self,
        settings: layers.Config,
        *,
        access: Access,
        verbs: Callable[[], list[str]],
        features: Callable[[], list[str]],
        connections: Callable[[], int],
    ) -> None:
        """`verbs`, `features` and `connections` tell what there is when they are asked."""
        self._settings = settings
        self._access = access
        self._verbs = verbs
        self._features = features
        self._connections = connections

    def handlers(self) -> dict[str, Handler]:
        """Return the verbs."""
        handlers: dict[str, Handler] = {"version": self._version, "config": self._config}
        return bound(VERBS, handlers, self._access)

    async def _version(self, _params: Mapping[str, Any], _peer: Peer) -> Any:
        return {
            "version": __version__,
            "api_version": API_VERSION,
            "verbs": sorted(self._verbs()),
            "features": sorted(self._features()),
            "connections": self._connections(),
        }

    async def _config(self, _params: Mapping[str, Any], _peer: Peer) -> Any:
        values = [
            {"section": v.section, "key": v.key, "text": v.text, "origin": v.origin}
            for v in layers.shown(self._settings)
        ]
        return {"files": [str(file) for file in self._settings.files], "values": values}
