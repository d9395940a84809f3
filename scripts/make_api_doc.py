# SPDX-License-Identifier: Apache-2.0
"""Writes the verbs into docs/api.md, from their declarations."""

from __future__ import annotations

import sys
from pathlib import Path

from ha_agent.broker.api import document as api_document


def main() -> int:
    """Rewrite the file named on the command line."""
    path = Path(sys.argv[1])
    try:
        path.write_text(api_document.replace_section(path.read_text()))
    except (OSError, ValueError) as error:
        print(f"make_api_doc: {path}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
