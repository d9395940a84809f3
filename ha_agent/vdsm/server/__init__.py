# SPDX-License-Identifier: Apache-2.0
"""The embedded VDSM: its process, its connections, its verbs."""
