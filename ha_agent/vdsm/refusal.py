# SPDX-License-Identifier: Apache-2.0
"""How a verb of the embedded VDSM says no: with one of VDSM's codes and a text."""

from __future__ import annotations

from ha_agent.errors import HaAgentError
from ha_agent.vdsm.errors import VdsmCode


class Refusal(HaAgentError):
    """The verb is answered with an error of this code and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = int(code)
        self.message = message


def general(text: object) -> Refusal:
    """Return code 100 with its text wrapped as VDSM wraps it: the repr of a Python tuple."""
    return Refusal(VdsmCode.GENERAL_EXCEPTION, f"General Exception: {(str(text),)!r}")


def no_such_vm(uuid: str) -> Refusal:
    """Return code 1, as VDSM words it."""
    return Refusal(VdsmCode.NO_SUCH_VM, f"Virtual machine does not exist: {{'vmId': {uuid!r}}}")
