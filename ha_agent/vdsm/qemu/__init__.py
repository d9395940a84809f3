# SPDX-License-Identifier: Apache-2.0
"""QEMU: its command line, its process, what this host has of it."""
