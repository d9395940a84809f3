# SPDX-License-Identifier: Apache-2.0
"""Set-up: `ha-agent deploy`, `join`, `leave`, `upgrade` and `downgrade`.

Process side, run by an operator; no daemon imports it. `step` says what a step is, `journal` keeps
what was chosen, `runner` runs steps so that a kill at any moment and a re-run end well.
"""
