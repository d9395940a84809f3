# SPDX-License-Identifier: Apache-2.0
"""The shells themselves complete, with the committed files and nothing else of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

import pytest

from scripts import command_tree, make_completions

FOLDER = Path(__file__).resolve().parents[2] / "packaging" / "completions"
Complete = Callable[[str, Path], set[str]]

# As readline hands a line over: "=" is a word.
BASH = """
source "$1"
words=(${2//=/ = })
[[ $2 != *' ' ]] || words+=('')
COMP_WORDS=("${words[@]}") COMP_CWORD=$((${#words[@]} - 1)) COMP_LINE=$2 COMP_POINT=${#2}
function=$(complete -p "${words[0]}" | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function
printf '%s\\n' "${COMPREPLY[@]}"
"""
FISH = 'source "$argv[1]"; complete -C "$argv[2]" | cut -f1'
# A shell at a terminal of its own; what its completion finds goes to a file.
ZSH = """
zmodload zsh/zpty
zpty shell zsh -d -i
zpty -w -n shell "$1"$'\\t\\a'
while zpty -r shell out; do :; done
"""
ZSHRC = """
PROMPT= RPROMPT=
unsetopt beep
fpath=($COMPLETIONS $fpath)
autoload -Uz compinit
compinit -u -D
compadd () {
    if [[ " $* " == *" -"[OAD]" "* ]]; then
        builtin compadd "$@"
        return
    fi
    local -a __hits
    builtin compadd -A __hits "$@"
    (( $#__hits )) && print -rl -- $__hits >> $HITS
    builtin compadd "$@"
}
leave () { exit }
zle -N leave
bindkey '^G' leave
bindkey '^I' complete-word
"""


def run(words: Sequence[str], folder: Path, **variables: str) -> set[str]:
    """Return the lines on stdout. No program of ours is in PATH, nor a Python to start one."""
    found = shutil.which(words[0])
    if found is None:
        pytest.skip(f"{words[0]} is not here")
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    for name in (words[0], "sed", "cut", "stty", "uname", "getconf", "sort", "cat"):
        program = shutil.which(name)
        if program and not (tools / name).exists():
            (tools / name).symlink_to(program)
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        env={"PATH": str(tools), "HOME": str(folder), "TERM": "dumb", "LC_ALL": "C.UTF-8"}
        | variables,
    )
    assert done.stderr == ""
    return set(done.stdout.split("\n")) - {""}


def bash(line: str, folder: Path) -> set[str]:
    file = str(FOLDER / "bash" / line.split()[0])
    return run(["bash", "--norc", "--noprofile", "-c", BASH, "bash", file, line], folder)


def fish(line: str, folder: Path) -> set[str]:
    file = str(FOLDER / "fish" / f"{line.split()[0]}.fish")
    found = run(["fish", "--no-config", "-c", FISH, file, line], folder)
    # fish completes the word as a whole, and a folder with its slash.
    return {word.partition("=")[2] if "=" in line else word.rstrip("/") for word in found}


def zsh(line: str, folder: Path) -> set[str]:
    hits = folder / "hits"
    hits.write_text("")
    (folder / ".zshrc").write_text(ZSHRC)
    variables = {"ZDOTDIR": str(folder), "HITS": str(hits), "COMPLETIONS": str(FOLDER / "zsh")}
    run(["zsh", "-d", "-f", "-c", ZSH, "zsh", line], folder, **variables)
    # It has the last part of a path only.
    lead = line.split()[-1].rpartition("/")[0] if "/" in line.split()[-1] else ""
    return {f"{lead}/{word}" if lead else word for word in hits.read_text().split("\n") if word}


SHELLS = pytest.mark.parametrize("complete", [bash, fish, zsh])


def test_committed_files_are_what_the_code_says() -> None:
    committed = {
        str(path.relative_to(FOLDER)): path.read_text()
        for path in FOLDER.rglob("*")
        if path.is_file()
    }
    assert committed == make_completions.files(), "run `make diagram`"


@SHELLS
def test_every_verb(complete: Complete, tmp_path: Path) -> None:
    verbs = {command.name for command in command_tree.ha_agent().commands}
    assert complete("ha-agent ", tmp_path) == verbs
    dashed = {command.name for command in command_tree.hosted_engine().commands}
    assert complete("hosted-engine --", tmp_path) == dashed


@SHELLS
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("ha-agent sta", {"status"}),
        ("ha-agent vm ", {"start", "stop", "resume"}),
        ("ha-agent maintenance ", {"local", "global", "none"}),
        ("ha-agent maintenance --for 2h lo", {"local"}),
        ("ha-agent config sh", {"show"}),
        ("ha-agent --config /dev/null status --js", {"--json"}),
        ("ha-agent ovf translate --to ", {"xml", "json", "vmconf", "ovf"}),
        ("ha-agent ovf translate --to=x", {"xml"}),
        ("ha-agent store get --version 3 --ti", {"--timeout"}),
        ("ha-agent simulate crash-host-b", {"crash-host-back-at-once", "crash-host-before-start"}),
        ("ha-agent can-do disk.", {"disk.detach", "disk.move", "disk.remove"}),
        ("ha-agent maintenance local --reason ", set()),
        ("ha-agent no-such-verb --wa", set()),
        ("hosted-engine --vm-st", {"--vm-start", "--vm-start-paused", "--vm-status"}),
        ("hosted-engine --set-maintenance --mode=", {"global", "local", "none"}),
        ("hosted-engine --set-maintenance --mode g", {"global"}),
        ("hosted-engine --vm-status --j", {"--json"}),
    ],
)
def test_what_is_offered(complete: Complete, line: str, found: set[str], tmp_path: Path) -> None:
    assert complete(line, tmp_path) == found


@SHELLS
def test_options_of_a_verb(complete: Complete, tmp_path: Path) -> None:
    for root in (command_tree.ha_agent(), command_tree.hosted_engine()):
        for path in (("ha-agent", "join"), ("hosted-engine", "--clean-metadata")):
            for command in (one for one in root.walk() if one.path == path):
                names = {name for option in command.options for name in option.names}
                found = complete(f"{' '.join(path)} --", tmp_path)
                assert found == names - {"-h"} | (found & {"-h"})


@SHELLS
def test_files_and_folders(complete: Complete, tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "folder").mkdir(parents=True)
    (work / "four.conf").write_text("")
    both = {f"{work}/folder", f"{work}/four.conf"}
    assert complete(f"ha-agent join --answers {work}/fo", tmp_path) == both
    assert complete(f"ha-agent shared-config put name {work}/fo", tmp_path) == both
    assert complete(f"ha-agent join --path {work}/fo", tmp_path) == {f"{work}/folder"}
    assert complete(f"hosted-engine --deploy --config-append {work}/fou", tmp_path) == {
        f"{work}/four.conf"
    }


@pytest.mark.parametrize("name", ["ha-agent", "hosted-engine"])
def test_the_distribution_loads_bashs_file(name: str, tmp_path: Path) -> None:
    loader = Path("/usr/share/bash-completion/bash_completion")
    if not loader.exists():
        pytest.skip("bash-completion is not here")
    data = tmp_path / "share" / "bash-completion" / "completions"
    data.mkdir(parents=True)
    shutil.copy(FOLDER / "bash" / name, data)
    done = subprocess.run(
        ["bash", "--norc", "-c", f". {loader}; _completion_loader {name}; complete -p {name}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path / "share")},
    )
    assert f"-F _{name.replace('-', '_')} {name}" in done.stdout
