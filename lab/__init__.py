# SPDX-License-Identifier: Apache-2.0
"""Three real hosts on one machine: booted containers with our packages. `python -m lab`."""
