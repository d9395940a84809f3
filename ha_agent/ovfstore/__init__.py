# SPDX-License-Identifier: Apache-2.0
"""The OVF_STORE: its archives, the engine VM's OVF in them, and the domain XML to start it with.

All modules here are pure, except those that DESIGN.md names (volume_io, history).
"""
