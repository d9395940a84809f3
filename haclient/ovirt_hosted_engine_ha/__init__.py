# SPDX-License-Identifier: Apache-2.0
"""What VDSM and tools import of the hosted engine's high availability: see client.client."""

__version__ = "2.6.0"
