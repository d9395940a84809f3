# SPDX-License-Identifier: Apache-2.0
"""Paths and limits by the predecessor's names, for tools that import them."""

from __future__ import annotations

from .settings import HOSTED_ENGINE_CONF

ENGINE_SETUP_CONF_FILE = HOSTED_ENGINE_CONF
# Seconds: how old a host's status may be for it to count as live. The broker decides; its
# default is [status] host_alive_seconds of ha-agent.conf.
HOST_ALIVE_TIMEOUT_SECS = 30
METADATA_PARSE_VERSION = 1
METADATA_FEATURE_VERSION = 1
