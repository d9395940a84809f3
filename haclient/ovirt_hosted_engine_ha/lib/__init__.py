# SPDX-License-Identifier: Apache-2.0
"""Exceptions, and what the client is made of."""
