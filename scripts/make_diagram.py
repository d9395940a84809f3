# SPDX-License-Identifier: Apache-2.0
"""Rewrites the generated part of ARCHITECTURE.md from the state machine's table."""

from __future__ import annotations

import sys
from pathlib import Path

from ha_agent.fsm import diagram


def main() -> int:
    """Rewrite the file named on the command line."""
    path = Path(sys.argv[1])
    try:
        path.write_text(diagram.replace_section(path.read_text()))
    except (OSError, ValueError) as error:
        print(f"make_diagram: {path}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
