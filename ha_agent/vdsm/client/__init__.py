# SPDX-License-Identifier: Apache-2.0
"""VDSM asked: the connection, its verbs typed, and what the answers say."""
