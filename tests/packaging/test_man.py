# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import configparser
import contextlib
import dataclasses
import io
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ha_agent.broker.api.catalogue import CATALOGUE
from ha_agent.cli.main import command_line
from ha_agent.compat.hosted_engine.verbs import VERBS
from ha_agent.config.schema import SECTIONS
from scripts import command_tree, make_man, man_pages, man_roff

ROOT = Path(__file__).resolve().parents[2]
MAN = ROOT / "packaging" / "man"
COMMITTED = sorted(MAN.glob("*.[1-8]"))
PAGES = [path for path in COMMITTED if path.name not in man_pages.LINKS]


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8", **variables},
    )


def read_as_text(path: Path, needed: str = "man") -> str:
    if shutil.which(needed) is None:
        pytest.skip(f"{needed} is not here")
    done = run("man", "--warnings", "-l", "-P", "cat", str(path), MANWIDTH="4000")
    assert (done.returncode, done.stderr) == (0, "")
    return re.sub(r"[ \t]+", " ", done.stdout.replace("‐", "-").replace("’", "'"))


def test_committed_pages_are_what_the_code_says() -> None:
    made = man_pages.pages(make_man.dates(MAN), "a page has no date")
    assert made == {path.name: path.read_text() for path in COMMITTED}, "run `make diagram`"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.name))
def test_the_formatters_have_nothing_to_say(path: Path) -> None:
    checks = {
        "mandoc": ("mandoc", "-T", "lint", "-W", "style", str(path)),
        "groff": ("groff", "-man", "-ww", "-z", "-Tutf8", str(path)),
        "man": ("man", "--warnings", "-l", str(path)),
    }
    here = [name for name in checks if shutil.which(name)]
    if not here:
        pytest.skip("none of mandoc, groff and man is here")
    for name in here:
        done = run(*checks[name])
        assert done.stderr + (done.stdout if name != "man" else "") == "", name
        assert done.returncode == 0, name


def test_the_links_lead_to_pages(tmp_path: Path) -> None:
    if shutil.which("man") is None:
        pytest.skip("man is not here")
    folder = tmp_path / "man8"
    folder.mkdir()
    for path in COMMITTED:
        if path.suffix == ".8":
            shutil.copy(path, folder)
    for link, target in man_pages.LINKS.items():
        name, other = (page.rpartition(".")[0] for page in (link, target))
        shown = [
            run("man", "-M", str(tmp_path), "-P", "cat", page).stdout for page in (name, other)
        ]
        assert shown[0] == shown[1] != ""


def test_every_verb_and_option_is_told() -> None:
    text = read_as_text(MAN / "ha-agent.8")
    for command in command_tree.ha_agent().walk():
        assert command.commands or f"\n {' '.join(command.path)}\n" in text, command
        for option in command.options:
            assert all(name in text for name in option.names if name != "-h"), option
    assert "\n events [" not in text


def test_the_tree_knows_what_help_prints() -> None:
    # argparse's own word for it, of a verb with each kind of argument.
    parser = command_line()
    for words in (["maintenance"], ["ovf", "translate"], ["join"], ["simulate"], ["can-do"]):
        told = io.StringIO()
        with contextlib.redirect_stdout(told), pytest.raises(SystemExit):
            parser.parse_args([*words, "--help"])
        help_text = " ".join(told.getvalue().split())
        [command] = [
            one for one in command_tree.ha_agent().walk() if one.path == ("ha-agent", *words)
        ]
        for option in command.options:
            assert option.names[-1] in help_text
            assert "--help" in option.names or " ".join(option.help.split()) in help_text
        for operand in command.operands:
            assert " ".join(operand.help.split()) in help_text


def test_every_section_and_key_is_told() -> None:
    text = read_as_text(MAN / "ha-agent.conf.5")
    for section, holder in SECTIONS.items():
        assert f"\n [{section}]\n" in text
        for key in dataclasses.fields(holder):
            assert re.search(rf"\b{key.name}\b", text), f"[{section}] {key.name}"


def test_every_call_of_the_socket_is_told() -> None:
    text = read_as_text(MAN / "ha-agent-api.7")
    for title, verbs in CATALOGUE:
        assert f"\n{title.upper()}\n" in text
        for verb in verbs:
            assert f"\n {verb.name}\n" in text


def test_every_verb_of_hosted_engine_is_told_with_its_departures() -> None:
    text = " ".join(read_as_text(MAN / "hosted-engine.8").split())
    for verb in VERBS:
        assert f"hosted-engine {verb.name}" in text
        for sentence in verb.differs:
            assert " ".join(sentence.replace("`", "").split()) in text


def test_every_command_that_is_installed_has_a_page() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = setup["options.entry_points"]["console_scripts"].split("\n")
    programs = {line.split("=")[0].strip() for line in lines if line}
    assert programs <= {path.stem for path in COMMITTED}


def test_a_page_keeps_its_date_until_it_says_something_else(tmp_path: Path) -> None:
    (tmp_path / "x.8").write_text('.\\" made\n.TH "X" "8" "2020-02-29" "x" "y"\n')
    (tmp_path / "x.so.8").write_text(".so man8/x.8\n")
    assert make_man.dates(tmp_path) == {"x.8": "2020-02-29"}
    first = man_pages.pages({}, "2020-01-01")
    again = man_pages.pages({"ha-agent.8": "2020-01-01"}, "2021-01-01")
    assert first["ha-agent.8"] == again["ha-agent.8"]
    assert first["ha-broker.8"] != again["ha-broker.8"]


@pytest.mark.parametrize(
    ("markdown", "roff"),
    [
        ("## A `b`", '.SH "A B"\n'),
        ('### `--x` "y"', '.SS "\\-\\-x \\(dqy\\(dq"\n'),
        ("a `b-c` **d** *e* [f](g#h)", ".PP\na \\fBb\\-c\\fR \\fBd\\fR \\fIe\\fR f\n"),
        ("One. Two.", ".PP\nOne.\nTwo.\n"),
        (".a\n'b\\c", ".PP\n\\&.a \\(aqb\\ec\n"),
        ("    .x\n\n    y\n\nz", ".PP\n.RS 4\n.EX\n\\&.x\n\ny\n.EE\n.RE\n.PP\nz\n"),
        ("```sh\nx *y*\n```", ".PP\n.RS 4\n.EX\nx *y*\n.EE\n.RE\n"),
        ("- a\n  b\n- c", ".IP \\(bu 2\na b\n.IP \\(bu 2\nc\n"),
        ("| k | w |\n|---|---|\n| `a\\|b` | c |", ".TP\n\\fBa|b\\fR\nc\n"),
        (
            "| k | t | default | w |\n|---|---|---|---|\n| a | n | `1` | c |\n"
            "| b | n | must be given | |",
            ".TP\na (n; default \\fB1\\fR)\nc\n.TP\nb (n; must be given)\n\\&\n",
        ),
        ("é ^ ~ `x`", ".PP\n\\[u00E9] \\(ha \\(ti \\fBx\\fR\n"),
    ],
)
def test_markdown_as_roff(markdown: str, roff: str) -> None:
    assert man_roff.body(markdown) == roff
