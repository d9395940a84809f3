# SPDX-License-Identifier: Apache-2.0
"""High-availability agent for oVirt's hosted engine."""

__version__ = "0.1.0"
