# SPDX-License-Identifier: Apache-2.0
"""Where configuration is, and by which names it is asked for."""
