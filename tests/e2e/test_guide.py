# SPDX-License-Identifier: Apache-2.0
"""How guides are read: what is run, and what counts as the same output."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.guide import Deed, Typed, missing, steps_of

GUIDE = """\
# A guide

```console
host1# ha-agent status
Engine VM runs on host1 (id 1)
...
host2# ha-agent maintenance local \\
    --reason "new disks"
[exit 1]
```

<!-- guide: power-cut host1 -->

```text
host1# not run
```
"""


def test_commands_and_deeds_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text(GUIDE)
    first, second, deed = steps_of(path)
    assert first == Typed("a.md:4", "host1", "ha-agent status", ["Engine VM runs on host1 (id 1)"])
    assert isinstance(second, Typed)
    assert second.command == 'ha-agent maintenance local --reason "new disks"'
    assert (second.host, second.exit_code, second.only_looks) == ("host2", 1, False)
    assert first.only_looks
    assert deed == Deed("a.md:12", ("power-cut", "host1"))


@pytest.mark.parametrize("text", ["```console\noutput\n```\n", "```console\nhost1# true\n"])
def test_what_is_no_guide(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.md"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.md"):
        steps_of(path)


@pytest.mark.parametrize(
    ("expected", "printed", "lacks"),
    [
        (["a 1.5 s", "c"], "a 22.07 s\nb\nc\n", ""),
        (["c", "a"], "a\nc\n", "a"),
        (["identity 0123456789ab is … here"], "identity ba9876543210 is now here\n", ""),
        (["in order"], "not in order\n", "in order"),
        (["a | b"], "a | c\n", "a | b"),
        (["host1 yes"], "host2 yes\n", "host1 yes"),
        ([], "", ""),
    ],
)
def test_what_counts_as_the_same(expected: list[str], printed: str, lacks: str) -> None:
    assert missing(expected, printed) == lacks


def test_the_index_has_every_guide_once() -> None:
    folder = Path(__file__).parents[2] / "docs" / "guides"
    listed = re.findall(r"^\| \[(.+?)\]\((.+?)\) \|", (folder / "README.md").read_text(), re.M)
    assert all(name == place for name, place in listed)
    guides = {path.name for path in folder.glob("*.md")} - {"README.md"}
    assert sorted(name for name, _ in listed) == sorted(guides)
