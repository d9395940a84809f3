# SPDX-License-Identifier: Apache-2.0
"""Writes what bash, zsh and fish complete, each shell's files in a folder of their own:
`python -m scripts.make_completions packaging/completions`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from scripts import command_tree, complete_bash, complete_fish, complete_zsh


def files() -> dict[str, str]:
    """Return the text of each file by its path below packaging/completions."""
    found = {}
    for root in (command_tree.ha_agent(), command_tree.hosted_engine()):
        found[f"bash/{root.name}"] = complete_bash.script(root)
        found[f"zsh/_{root.name}"] = complete_zsh.script(root)
        found[f"fish/{root.name}.fish"] = complete_fish.script(root)
    return found


def main() -> int:
    """Write them below the folder named on the command line."""
    folder = Path(sys.argv[1])
    try:
        for name, text in files().items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        print(f"make_completions: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
