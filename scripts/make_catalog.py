# SPDX-License-Identifier: Apache-2.0
"""Writes systemd/ha-agent.catalog and docs/journal.md anew from the journal's messages."""

from __future__ import annotations

import sys
from pathlib import Path

from ha_agent import journal_document


def main() -> int:
    """Write the two files named on the command line: catalog, document."""
    names = sys.argv[1:] or ["systemd/ha-agent.catalog", "docs/journal.md"]
    texts = (journal_document.catalog(), journal_document.document())
    for name, text in zip(names, texts):
        try:
            Path(name).write_text(text)
        except OSError as error:
            print(f"make_catalog: {name}: {error.strerror}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
