# SPDX-License-Identifier: Apache-2.0
"""All verbs of the socket, gathered for docs/api.md (api/document.py). It must not bind any.

The verb `version` tells which of them a broker has; a test holds both lists together.
"""

from __future__ import annotations

from ha_agent.broker.api import about as api_about
from ha_agent.broker.api import basic as api
from ha_agent.broker.api import definition_verbs as verbs_definition
from ha_agent.broker.api import events as api_events
from ha_agent.broker.api import lockspace as api_lockspace
from ha_agent.broker.api import maintenance as api_maintenance
from ha_agent.broker.api import shared_keys as api_shared_keys
from ha_agent.broker.api import vdsm as api_vdsm
from ha_agent.broker.api import vm as api_vm
from ha_agent.broker.api.verb import Verb
from ha_agent.broker.incidents import part as incident_part

# By what they are about, in the order of the document.
CATALOGUE: tuple[tuple[str, tuple[Verb, ...]], ...] = (
    ("The broker", api_about.VERBS),
    ("The picture, the lease, the agent", api.VERBS),
    ("What happened, and why", api_events.VERBS),
    ("Incidents and notifications", incident_part.VERBS),
    ("Maintenance", api_maintenance.VERBS),
    ("The engine VM by hand", api_vm.VERBS),
    ("Console, migration, connection of the storage", api_vdsm.VERBS),
    ("Hosts and lockspaces", api_lockspace.VERBS),
    ("The engine VM's definition", verbs_definition.VERBS),
    ("The configuration by key", api_shared_keys.VERBS),
)
