# SPDX-License-Identifier: Apache-2.0
"""`ha-agent upgrade` and `downgrade`: from the predecessor, and back."""
