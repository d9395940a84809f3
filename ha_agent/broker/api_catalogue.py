# SPDX-License-Identifier: Apache-2.0
"""All verbs of the socket, gathered for docs/api.md (api_document.py). It must not bind any.

The verb `version` tells which of them a broker has; a test holds both lists together.
"""

from __future__ import annotations

from ha_agent.broker import (
    api,
    api_about,
    api_events,
    api_lockspace,
    api_maintenance,
    api_vm,
    incident_part,
    verbs_definition,
)
from ha_agent.broker.verb import Verb

# By what they are about, in the order of the document.
CATALOGUE: tuple[tuple[str, tuple[Verb, ...]], ...] = (
    ("The broker", api_about.VERBS),
    ("The picture, the lease, the agent", api.VERBS),
    ("What happened, and why", api_events.VERBS),
    ("Incidents and notifications", incident_part.VERBS),
    ("Maintenance", api_maintenance.VERBS),
    ("The engine VM by hand", api_vm.VERBS),
    ("Hosts and lockspaces", api_lockspace.VERBS),
    ("The engine VM's definition", verbs_definition.VERBS),
)
