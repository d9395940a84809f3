# SPDX-License-Identifier: Apache-2.0
"""Beside the peers: the same guest, lab and faults under Pacemaker, and what each takes."""
