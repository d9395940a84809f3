# SPDX-License-Identifier: Apache-2.0
"""Writes the manual pages into packaging/man: `python -m scripts.make_man packaging/man`.

A page that says something new gets the date of SOURCE_DATE_EPOCH, or else of today; one that does
not keeps the date that it has. So what is made is the same on every day and machine.
"""

from __future__ import annotations

import datetime
import os
import re
import sys
import time
from pathlib import Path

from scripts import man_pages

_DATE = re.compile(r'^\.TH "[^"]*" "\d" "(\d{4}-\d\d-\d\d)"', re.MULTILINE)


def dates(folder: Path) -> dict[str, str]:
    """Return the date of each page that is there, by its name."""
    found = {}
    for path in folder.glob("*.[1-8]"):
        date = _DATE.search(path.read_text(encoding="utf-8"))
        if date:
            found[path.name] = date[1]
    return found


def main() -> int:
    """Write the pages into the folder named on the command line."""
    folder = Path(sys.argv[1])
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    today = datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).strftime("%Y-%m-%d")
    try:
        as_dated = man_pages.pages(dates(folder), today)
        as_new = man_pages.pages({}, today)
        for name, text in as_dated.items():
            path = folder / name
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.write_text(as_new[name], encoding="utf-8")
        for path in folder.glob("*.[1-8]"):
            if path.name not in as_dated:
                path.unlink()
    except OSError as error:
        print(f"make_man: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
