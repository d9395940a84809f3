# SPDX-License-Identifier: Apache-2.0
"""What the predecessor, ovirt-hosted-engine-ha, left behind or is still asked for."""
