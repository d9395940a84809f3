# SPDX-License-Identifier: Apache-2.0
"""The command `hosted-engine`, as the predecessor's tools, its users and scripts know it."""
