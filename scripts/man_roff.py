# SPDX-License-Identifier: Apache-2.0
"""Markdown to man(7): the part of Markdown that our documents and manual pages are written in.

    ## Heading          a section           ### Heading     a subsection
    - item              a list              | a | b |       a table: a definition a row
        code, ```       as it stands        `code` **b** *i* [text](link)    in text

It does no I/O. A table's first cell is the term and its last one the text; what is between them
goes behind the term, in parentheses. Anything else is a paragraph, filled.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

_WIDTH = 78
_SPAN = re.compile(
    r"``(?P<ticks>.+?)``|`(?P<code>[^`]+)`|\*\*(?P<bold>[^*]+)\*\*"
    r"|(?<![\w*])\*(?P<italic>[^*\s][^*]*)\*(?![\w*])|\[(?P<text>[^]]+)\]\([^)]*\)"
)
_ESCAPES = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
_SENTENCE_END = re.compile(r"(?<=[.!?]) +(?=[A-Z`*\[\\])")
_CELL = re.compile(r"(?<!\\)\|")


def page(title: str, section: str, date: str, source: str, markdown: str) -> str:
    """Return the manual page; `source` is the program with its version."""
    name = title.upper()
    head = f'.TH "{_escaped(name)}" "{section}" "{date}" "{_escaped(source)}" "oVirt"\n'
    comment = '.\\" Made by scripts/make_man.py: change what it is made from.\n'
    return f"{comment}{head}{body(markdown)}"


def body(markdown: str) -> str:
    """Return the text as man(7), without a title line."""
    lines: list[str] = []
    for line in _Blocks(markdown.split("\n")).roff():
        # A heading begins a paragraph of its own accord.
        if line != ".PP" or not lines or not lines[-1].startswith((".SH", ".SS")):
            lines.append(line)
    return "\n".join(lines) + "\n"


class _Blocks:
    """The blocks of a document, one after the other."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._at = 0

    def roff(self) -> Iterator[str]:
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if not line.strip() or line.startswith("<!--"):
                self._at += 1
            elif line.startswith("#"):
                self._at += 1
                yield _heading(line)
            elif line.startswith("```"):
                self._at += 1
                yield from _literal([*self._until("```")])
                self._at += 1
            elif line.startswith("    "):
                yield from _literal([text[4:] for text in self._code()])
            elif line.startswith("|"):
                yield from _table([*self._while("|")])
            elif line.startswith("- "):
                yield from self._list()
            else:
                yield ".PP"
                yield from filled(" ".join(self._paragraph()))

    def _until(self, mark: str) -> Iterator[str]:
        while self._at < len(self._lines) and not self._lines[self._at].startswith(mark):
            yield self._lines[self._at]
            self._at += 1

    def _while(self, mark: str) -> Iterator[str]:
        while self._at < len(self._lines) and self._lines[self._at].startswith(mark):
            yield self._lines[self._at]
            self._at += 1

    def _code(self) -> list[str]:
        """Return indented lines; an empty one between two of them belongs to both."""
        found: list[str] = []
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if line.strip() and not line.startswith("    "):
                break
            found.append(line)
            self._at += 1
        while not found[-1].strip():
            found.pop()
        return found

    def _paragraph(self) -> Iterator[str]:
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if not line.strip() or line.startswith(("#", "|", "- ", "```")):
                return
            yield line.strip()
            self._at += 1

    def _list(self) -> Iterator[str]:
        while self._at < len(self._lines) and self._lines[self._at].startswith("- "):
            words = [self._lines[self._at][2:]]
            self._at += 1
            while self._at < len(self._lines) and self._lines[self._at].startswith("  "):
                words.append(self._lines[self._at].strip())
                self._at += 1
            yield r".IP \(bu 2"
            yield from filled(" ".join(words))


def filled(text: str) -> Iterator[str]:
    """Yield the lines of a paragraph. A sentence begins a line, as man pages have it."""
    for sentence in _SENTENCE_END.split(text):
        for line in textwrap.wrap(
            inline(sentence), _WIDTH, break_long_words=False, break_on_hyphens=False
        ):
            yield _guarded(line)


def inline(text: str) -> str:
    """Return text within a line: its marks as fonts, everything else as it is read."""
    parts, at = [], 0
    for found in _SPAN.finditer(text):
        parts.append(_escaped(text[at : found.start()]))
        at = found.end()
        code = found["ticks"] or found["code"] or found["bold"]
        if code:
            parts.append(rf"\fB{_escaped(code)}\fR")
        elif found["italic"]:
            parts.append(rf"\fI{_escaped(found['italic'])}\fR")
        else:
            parts.append(inline(found["text"]))
    parts.append(_escaped(text[at:]))
    return "".join(parts)


def _heading(line: str) -> str:
    marks, _, text = line.partition(" ")
    text = text.replace("`", "")
    if marks == "##":
        return f".SH {_quoted(text.upper())}"
    return f".SS {_quoted(text)}"


def _quoted(text: str) -> str:
    return '"{}"'.format(_escaped(text).replace('"', r"\(dq"))


def _literal(lines: list[str]) -> Iterator[str]:
    yield ".PP"
    yield ".RS 4"
    yield ".EX"
    yield from (_guarded(_escaped(line)) for line in lines)
    yield ".EE"
    yield ".RE"


def _table(lines: list[str]) -> Iterator[str]:
    rows = [_cells(line) for line in lines]
    heads = rows[0]
    for row in rows[2:]:
        term, between, text = row[0], row[1:-1], row[-1]
        notes = [
            f"{head} {cell}" if head == "default" and cell != "must be given" else cell
            for head, cell in zip(heads[1:-1], between)
            if cell
        ]
        yield ".TP"
        yield _guarded(inline(f"{term} ({'; '.join(notes)})" if notes else term) or r"\&")
        yield from filled(text) if text else [r"\&"]


def _cells(line: str) -> list[str]:
    inner = line.strip()[1:].rstrip()
    inner = inner[:-1] if inner.endswith("|") else inner
    return [cell.strip().replace("\\|", "|") for cell in _CELL.split(inner)]


def _escaped(text: str) -> str:
    return "".join(
        _ESCAPES.get(letter) or (letter if letter.isascii() else rf"\[u{ord(letter):04X}]")
        for letter in text
    )


def _guarded(line: str) -> str:
    """Return the line so that it is no request: those begin with a dot or a quote."""
    return rf"\&{line}" if line.startswith((".", "'")) else line
