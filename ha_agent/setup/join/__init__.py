# SPDX-License-Identifier: Apache-2.0
"""`ha-agent join` and `leave`: hosts that come and go."""
