# SPDX-License-Identifier: Apache-2.0
"""Writes docs/predecessor-files.md anew from the declared keys."""

from __future__ import annotations

import sys
from pathlib import Path

from ha_agent.compat import legacy_document


def main() -> int:
    """Write the file named on the command line, docs/predecessor-files.md without one."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/predecessor-files.md")
    try:
        path.write_text(legacy_document.document())
    except OSError as error:
        print(f"make_predecessor_doc: {path}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
