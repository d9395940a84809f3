# SPDX-License-Identifier: Apache-2.0
"""The engine VM through libvirt's own API, on hosts that have no VDSM."""
