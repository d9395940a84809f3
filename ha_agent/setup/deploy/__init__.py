# SPDX-License-Identifier: Apache-2.0
"""`ha-agent deploy`: the first host of a hosted engine."""
