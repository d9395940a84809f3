# SPDX-License-Identifier: Apache-2.0
"""What may not stand in a journal."""

from __future__ import annotations

from lab.run_cases import journal_faults

_LINE = "Nov 23 03:25:24.418965 host2 {who}[57]: {text}\n"


def test_a_traceback_of_ours_is_a_fault() -> None:
    text = _LINE.format(who="ha-broker", text="Traceback (most recent call last):")
    assert journal_faults("host2", text) == ["host2: a traceback of ha-broker in the journal"]


def test_other_programs_and_other_words_are_none() -> None:
    text = _LINE.format(who="sanlock", text="Traceback (most recent call last):")
    text += _LINE.format(who="ha-broker", text="lease lost: epoch 4")
    assert journal_faults("host2", text) == []
