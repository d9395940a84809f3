# SPDX-License-Identifier: Apache-2.0
"""Each kind of mutation, on a source that is as small as it can be."""

from __future__ import annotations

import ast

import pytest

from mutate.mutants import mutants

FUNCTION = "def f(a, b):\n    return {}\n"


def changed(source: str) -> list[str]:
    """Return all mutants of a source, on one line each."""
    return [mutant.source() for mutant in mutants("ha_agent/x.py", source)]


def of_expression(expression: str) -> set[str]:
    """Return the mutants of a function that returns this, by what they return."""
    found = set()
    for source in changed(FUNCTION.format(expression)):
        [function] = ast.parse(source).body
        assert isinstance(function, ast.FunctionDef)
        [statement] = function.body
        assert isinstance(statement, ast.Return)
        found.add("" if statement.value is None else ast.unparse(statement.value))
    return found


@pytest.mark.parametrize(
    ("expression", "mutated"),
    [
        ("a < b", {"a <= b", "a >= b"}),
        ("a <= b", {"a < b", "a > b"}),
        ("a > b", {"a >= b", "a <= b"}),
        ("a >= b", {"a > b", "a < b"}),
        ("a == b", {"a != b"}),
        ("a != b", {"a == b"}),
        ("a is b", {"a is not b"}),
        ("a is not b", {"a is b"}),
        ("a in b", {"a not in b"}),
        ("a not in b", {"a in b"}),
        ("a < b < c", {"a <= b < c", "a >= b < c", "a < b <= c", "a < b >= c"}),
        ("a and b", {"a or b", "a", "b", "not a and b", "a and (not b)"}),
        ("a or b", {"a and b", "a", "b", "not a or b", "a or not b"}),
        ("not a", {"a"}),
        ("True", {"False"}),
        ("7", {"8", "6", "14"}),
        ("1", {"2", "0"}),
        ("0", {"1", "-1"}),
        ("a + b", {"a - b"}),
        ("a - b", {"a + b"}),
        ("min(a, b)", {"max(a, b)"}),
        ("max(a, b)", {"min(a, b)"}),
        ("a if b else c", {"a if not b else c"}),
        ("a in (b, c)", {"a not in (b, c)", "a in (c,)", "a in (b,)"}),
        ("{a, b}", {"{a}", "{b}"}),
        ("{a.x: b, a.y: c}", {"{a.y: c}", "{a.x: b}"}),
        ("[x for x in a if x]", {"[x for x in a]"}),
        ("f'{a + 1}'", set()),
        ("a + 'text'", set()),
    ],
)
def test_an_expression(expression: str, mutated: set[str]) -> None:
    assert of_expression(expression) == mutated


def test_what_a_condition_asks_is_turned_round() -> None:
    found = changed("def f(a):\n    if a:\n        return\n    while a:\n        a()\n")
    assert sum("if not a:" in source for source in found) == 1
    assert sum("while not a:" in source for source in found) == 1


def test_what_is_returned() -> None:
    assert "return not a(b)" in "".join(changed("def f(a, b) -> bool:\n    return a(b)\n"))
    assert "return None" in "".join(changed("def f(a) -> Optional[int]:\n    return a\n"))
    assert not changed("def f(a) -> int:\n    return a\n")
    assert not changed("def f(a) -> Optional[int]:\n    return None\n")


class TestDeletions:
    @pytest.mark.parametrize(
        "statement",
        ["a.x = b", "a.go(b)", "raise a", "a += b", "a = b", "a['x'] = b"],
    )
    def test_a_statement_is_left_out(self, statement: str) -> None:
        found = changed(f"def f(a, b):\n    {statement}\n")
        assert "def f(a, b):\n    pass" in found

    @pytest.mark.parametrize(
        "statement",
        ["c = b", "'a docstring'", "log.info('said')", "pass", "import os"],
    )
    def test_some_would_prove_nothing(self, statement: str) -> None:
        assert not changed(f"def f(a, b):\n    {statement}\n")

    def test_in_each_block(self) -> None:
        body = "if a:\n        b.x()\n    else:\n        b.y()\n    for c in a:\n        b.z()\n"
        found = "".join(changed(f"def f(a, b):\n    {body}"))
        for name in "xyz":
            # Seen in all mutants but one; three calls and a condition make four.
            assert found.count(f"b.{name}()") == 3


def test_annotations_and_docstrings_decide_nothing() -> None:
    assert not changed('"""True."""\n\ndef f(a: Literal[1] = b) -> Literal[2]:\n    """3."""\n')


class TestKeys:
    SOURCE = "class A:\n    def f(self, a):\n        return a > 0\n"

    def test_say_where_and_what(self) -> None:
        keys = [mutant.key for mutant in mutants("ha_agent/x.py", self.SOURCE)]
        assert "ha_agent/x.py:A.f:a > 0 becomes a >= 0" in keys

    def test_stay_when_lines_shift(self) -> None:
        before = mutants("ha_agent/x.py", self.SOURCE)
        after = mutants("ha_agent/x.py", "import os\n# more\n\n" + self.SOURCE)
        assert [mutant.key for mutant in before] == [mutant.key for mutant in after]
        assert [mutant.line + 3 for mutant in before] == [mutant.line for mutant in after]

    def test_are_different_for_like_changes_in_one_function(self) -> None:
        found = mutants("ha_agent/x.py", "def f(a):\n    g(a > 0)\n    return a > 0\n")
        assert len({mutant.key for mutant in found}) == len(found)

    def test_long_ones_show_where_they_differ(self) -> None:
        names = " and ".join(f"name_{number}_of_many" for number in range(12))
        keys = [m.key for m in mutants("ha_agent/x.py", f"def f():\n    return {names}\n")]
        assert len(set(keys)) == len(keys)
        assert any("not name_11_of_many" in key for key in keys)
        assert max(len(key) for key in keys) < 260


def test_the_tree_is_as_before_after_all_mutants_were_written() -> None:
    found = mutants("ha_agent/x.py", "def f(a):\n    return a > 1 and not a.b\n")
    first = [mutant.source() for mutant in found]
    assert [mutant.source() for mutant in found] == first
    assert len(set(first)) == len(first)


def test_a_sample_is_always_the_same_and_about_its_share() -> None:
    source = "def f(a):\n" + "".join(f"    a.x_{n}()\n" for n in range(400))
    found = mutants("ha_agent/x.py", source)
    tenth = [mutant.key for mutant in found if mutant.in_share(0.1)]
    assert 20 <= len(tenth) <= 65
    assert set(tenth) <= {mutant.key for mutant in found if mutant.in_share(0.3)}
    assert all(mutant.in_share(1.0) for mutant in found)
    assert not any(mutant.in_share(0.0) for mutant in found)
