# SPDX-License-Identifier: Apache-2.0
"""Three real hosts on one machine: booted containers with the packages installed. `python -m lab`."""
