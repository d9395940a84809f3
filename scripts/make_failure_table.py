# SPDX-License-Identifier: Apache-2.0
"""Measures the failure table of ARCHITECTURE.md anew, in simulated time."""

from __future__ import annotations

import sys
from pathlib import Path

from ha_agent.sim import failure_table


def main() -> int:
    """Rewrite the file named on the command line."""
    path = Path(sys.argv[1])
    try:
        path.write_text(failure_table.replace_section(path.read_text()))
    except (OSError, ValueError) as error:
        print(f"make_failure_table: {path}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
