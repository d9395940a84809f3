# SPDX-License-Identifier: Apache-2.0
"""The management engine's REST API, as an operator's command needs it: `ha-agent engine`.

No daemon imports this: what agent and broker do goes on without an engine. It speaks through
oVirt's own Python SDK (`ovirt-engine-sdk-python`), which only `sdk` imports, and late.
"""
