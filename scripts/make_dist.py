# SPDX-License-Identifier: Apache-2.0
"""Source distributions and wheels of ha-agent and its HAClient, from the committed tree.

    scripts/make_dist.py dist                   of HEAD
    scripts/make_dist.py --commit v0.1.0 dist

Wheels are made from the source distributions, not from the tree. The build runs by PEP 517 on a
copy of what is committed, so nothing that lies about gets in. The same commit gives the same
bytes: times are those of the commit (or SOURCE_DATE_EPOCH), and the tar is written anew with
sorted names and no owner, which setuptools leaves to the machine.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STEP_SECONDS = 900.0


def run(words: Sequence[str], folder: Path, epoch: int) -> None:
    """Run a step of the build. Raises CalledProcessError, with what it said."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "LC_ALL": "C.UTF-8"}
    subprocess.run(
        words,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=STEP_SECONDS,
        check=True,
    )


def commit_time(commit: str) -> int:
    """Return what SOURCE_DATE_EPOCH says, or when that was committed."""
    told = os.environ.get("SOURCE_DATE_EPOCH")
    if told:
        return int(told)
    done = subprocess.run(
        ["git", "log", "-1", "--format=%ct", commit],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def export(commit: str, folder: Path) -> None:
    """Write the tree of a commit into the folder."""
    archive = folder / "tree.tar"
    with archive.open("wb") as file:
        subprocess.run(["git", "archive", commit], cwd=ROOT, stdout=file, check=True)
    with tarfile.open(archive) as tar:
        tar.extractall(folder)
    archive.unlink()


def normalise(path: Path, epoch: int) -> None:
    """Write a .tar.gz anew, with nothing in it of the machine and the moment."""
    with tarfile.open(path) as tar:
        files = [
            (member, b"" if reader is None else reader.read())
            for member in tar.getmembers()
            for reader in [tar.extractfile(member) if member.isreg() else None]
        ]
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, content in sorted(files, key=lambda pair: pair[0].name):
            clean = tarfile.TarInfo(member.name)
            clean.type, clean.linkname, clean.size = member.type, member.linkname, len(content)
            clean.mtime = epoch
            clean.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            tar.addfile(clean, io.BytesIO(content))
    path.write_bytes(gzip.compress(plain.getvalue(), mtime=epoch))


def build_one(project: Path, out: Path, epoch: int) -> None:
    """Build the source distribution of a project, and the wheel from that."""
    made = project / "dist"
    # Without isolation: nothing is fetched, and setuptools is the one of this environment.
    run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(made), str(project)],
        project,
        epoch,
    )
    for path in sorted(made.iterdir()):
        if path.name.endswith(".tar.gz"):
            normalise(path, epoch)
        print(f"dist: {shutil.copy(path, out)}")


def main() -> int:
    """Build into the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("out", type=Path, help="the folder for them")
    parser.add_argument("--commit", default="HEAD", help="which one; default: %(default)s")
    arguments = parser.parse_args()
    out: Path = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ha-agent-dist-") as name:
        tree = Path(name)
        try:
            export(arguments.commit, tree)
            epoch = commit_time(arguments.commit)
            for project in (tree, tree / "haclient"):
                build_one(project, out, epoch)
        except subprocess.CalledProcessError as error:
            print(f"make_dist: {error.cmd} failed:\n{error.output or ''}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
