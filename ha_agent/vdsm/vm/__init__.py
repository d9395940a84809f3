# SPDX-License-Identifier: Apache-2.0
"""The VMs of the embedded VDSM: their lives, leases and records."""
