# SPDX-License-Identifier: Apache-2.0
"""`make dist`: what is built from the committed tree installs and runs where nothing of it is."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts import make_dist

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.long


def run(words: Sequence[str], **options: str) -> str:
    environment = {key: text for key, text in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        cwd=options.pop("cwd", None),
        env={**environment, **options},
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def commit() -> str:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    return run(["git", "rev-parse", "HEAD"], cwd=str(ROOT)).strip()


@pytest.fixture(scope="module")
def dist(commit: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    script = str(ROOT / "scripts" / "make_dist.py")
    run([sys.executable, script, "--commit", commit, str(out)])
    return out


def one(dist: Path, pattern: str) -> Path:
    [path] = dist.glob(pattern)
    return path


def test_the_sources_are_all_that_is_committed(dist: Path, commit: str) -> None:
    listed = run(["git", "ls-tree", "-r", "--name-only", commit], cwd=str(ROOT))
    committed = set(listed.split("\n")) - {""}
    with tarfile.open(one(dist, "ha[-_]agent-*.tar.gz")) as tar:
        members = tar.getmembers()
    names = {member.name.partition("/")[2] for member in members if member.isreg()}
    # How this project's own machines check it is of no use elsewhere.
    assert {name for name in committed - names if not name.startswith(".ci/")} == set()
    made = {name for name in names - committed if ".egg-info/" not in name}
    assert made == {"PKG-INFO"}
    assert len({member.mtime for member in members}) == 1
    assert {(member.uid, member.gid, member.uname) for member in members} == {(0, 0, "")}


def test_the_same_commit_gives_the_same_bytes(dist: Path, commit: str, tmp_path: Path) -> None:
    # The other project is built the same way, and is small.
    epoch = make_dist.commit_time(commit)
    make_dist.export(commit, tmp_path)
    again = tmp_path / "again"
    again.mkdir()
    make_dist.build_one(tmp_path / "haclient", again, epoch)
    names = sorted(path.name for path in again.iterdir())
    assert len(names) == 2
    for name in names:
        assert (again / name).read_bytes() == (dist / name).read_bytes(), name


def test_a_moment_and_a_machine_leave_no_trace(tmp_path: Path) -> None:
    found = []
    for moment, mode in ((1_000_000_000, 0o600), (1_500_000_000, 0o664)):
        folder = tmp_path / str(moment)
        folder.mkdir()
        for name in ("b", "a") if mode == 0o600 else ("a", "b"):
            (folder / name).write_text(name)
            os.chmod(folder / name, mode)
            os.utime(folder / name, (moment, moment))
        archive = tmp_path / f"{moment}.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            for path in folder.iterdir():
                tar.add(path, f"x/{path.name}")
        make_dist.normalise(archive, 1_700_000_000)
        found.append(archive.read_bytes())
    assert found[0] == found[1]


def test_the_wheel_runs_where_nothing_else_of_ours_is(dist: Path, tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")])
    wheels = [str(one(dist, "ha_agent-*.whl")), str(one(dist, "ovirt_hosted*.whl"))]
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet"]
    run([*pip, "install", "--no-index", "--no-deps", *wheels])
    # The libraries of this environment; its own ha-agent is not among them: a path that is given
    # so has no .pth file read, and an editable install is one.
    libraries = {"PYTHONPATH": sysconfig.get_path("purelib"), "cwd": str(tmp_path)}
    where = run(
        [
            str(python),
            "-c",
            "import ha_agent, ovirt_hosted_engine_ha as h; print(ha_agent.__file__, h.__file__)",
        ],
        **libraries,
    )
    assert all(str(tmp_path / "venv") in path for path in where.split())
    command = str(tmp_path / "venv" / "bin" / "ha-agent")
    assert run([command, "--version"], **libraries).startswith("ha-agent ")
    assert "all rules held" in run([command, "simulate", "crash-host"], **libraries)
    shared = tmp_path / "venv" / "share" / "ha-agent"
    assert (shared / "answers-example.conf").exists()
    assert list((shared / "notifications").iterdir())


def test_the_wheels_have_the_packages_and_nothing_else(dist: Path) -> None:
    for pattern, package in (
        ("ha_agent-*.whl", "ha_agent"),
        ("ovirt*.whl", "ovirt_hosted_engine_ha"),
    ):
        with zipfile.ZipFile(one(dist, pattern)) as wheel:
            tops = {name.split("/")[0] for name in wheel.namelist()}
        others = {name for name in tops if not name.endswith((".dist-info", ".data"))}
        assert others == {package}
