# SPDX-License-Identifier: Apache-2.0
"""The configuration: its keys, its files, the layers that they make."""
