# SPDX-License-Identifier: Apache-2.0
"""`make bench`: measures what the project claims of its speed, one module a claim.

Each claim is held against something measured in the same run on the same machine: a floor that
no program could pass, or the plainest program that does the same. A figure alone says more
about the machine than about us.
"""
