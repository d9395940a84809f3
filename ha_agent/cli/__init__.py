# SPDX-License-Identifier: Apache-2.0
"""`ha-agent`, the operators' command: its groups of verbs."""
