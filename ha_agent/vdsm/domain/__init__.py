# SPDX-License-Identifier: Apache-2.0
"""A domain document (libvirt's XML) as values."""
