# SPDX-License-Identifier: Apache-2.0
"""Writes docs/metrics.md anew from the catalogue of metrics."""

from __future__ import annotations

import sys
from pathlib import Path

from ha_agent.broker.metrics import catalogue as metrics_catalogue


def main() -> int:
    """Write the file named on the command line, docs/metrics.md without one."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/metrics.md")
    try:
        path.write_text(metrics_catalogue.document())
    except OSError as error:
        print(f"make_metrics_doc: {path}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
