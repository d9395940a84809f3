# SPDX-License-Identifier: Apache-2.0
"""stdin, stdout and stderr of a command as its caller left them, fit for use.

A caller may have closed one, as `ha-agent status >&-` or a daemon's child has it: Python has None
there, and the next file or socket that is opened gets its number. A terminal may have fewer
characters than a host name or an engine's sentence. And a disk may be full, or a reader gone.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Callable


def run(work: Callable[[], int], failed: int) -> int:
    """Do a command's work on streams that are fit for it, and return its exit code.

    It is `failed` where the output can't be written.
    """
    prepare()
    try:
        code = work()
        sys.stdout.flush()
        return code
    except OSError as error:
        if error.filename is not None:  # of a file, not of a stream
            raise
        give_up_output(error)
        return failed


def prepare() -> None:
    """Put the null device where there is no stream; write what can't be encoded escaped."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            flags = os.O_RDONLY if name == "stdin" else os.O_WRONLY
            fd = os.open(os.devnull, flags)
            if fd != number:
                os.dup2(fd, number, inheritable=True)
                os.close(fd)
            else:
                os.set_inheritable(fd, True)
            mode = "r" if name == "stdin" else "w"
            # As long as the process lives.
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def give_up_output(error: OSError) -> None:
    """Say on stderr why stdout can't be written; what is left in it goes nowhere.

    Nothing is said of a reader that went away: there is nobody left to tell.
    """
    with contextlib.suppress(OSError):
        if not isinstance(error, BrokenPipeError):
            print(f"the output can't be written: {error}", file=sys.stderr)
    # Else Python would try once more at its end, and complain.
    fd = os.open(os.devnull, os.O_WRONLY)
    os.dup2(fd, 1)
    os.close(fd)
