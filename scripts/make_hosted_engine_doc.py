# SPDX-License-Identifier: Apache-2.0
"""Writes the verbs into docs/hosted-engine.md, from their declarations."""

from __future__ import annotations

import sys
from pathlib import Path

from ha_agent.compat.hosted_engine import help_text
from ha_agent.compat.hosted_engine.verbs import VERBS


def main() -> int:
    """Rewrite the file named on the command line."""
    path = Path(sys.argv[1])
    try:
        path.write_text(help_text.replace_reference(path.read_text(), VERBS))
    except (OSError, ValueError) as error:
        print(f"make_hosted_engine_doc: {path}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
