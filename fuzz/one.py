# SPDX-License-Identifier: Apache-2.0
"""Fuzz one target with atheris, in this process: `python -m fuzz.one TARGET RUNS FOLDER`.

libFuzzer ends the process, with a report and the input in FOLDER, at an exception that the
target lets out, at an input that takes over a second, and at more than 200 MB of memory.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

MEMORY_LIMIT_MB = 200
TIME_LIMIT_SECONDS = 1
SEED = 20261122

with atheris.instrument_imports(include=["ha_agent"]):
    from fuzz.targets import TARGETS


def main() -> None:
    """Run until RUNS inputs were tried; never returns (libFuzzer exits)."""
    name, runs, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    target = TARGETS[name]
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = folder / "words"
    words.write_text(
        "".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in target.words)
    )
    longest = max(len(seed) for seed in target.seeds())
    options = [
        f"-runs={runs}",
        f"-seed={SEED}",
        f"-rss_limit_mb={MEMORY_LIMIT_MB}",
        f"-timeout={TIME_LIMIT_SECONDS}",
        f"-max_len={2 * longest}",
        f"-dict={words}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
        # Fewer lines: the starter prints its own progress.
        "-verbosity=1",
        str(corpus),
    ]
    mutate = target.mutate
    if mutate is None:
        atheris.Setup([sys.argv[0], *options], target.run)
    else:

        def by_turns(data: bytes, max_size: int, seed: int) -> bytes:
            if seed % 2:
                changed: bytes = mutate(data, seed)
                if len(changed) <= max_size:
                    return changed
            return bytes(atheris.Mutate(data, max_size))

        atheris.Setup([sys.argv[0], *options], target.run, custom_mutator=by_turns)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
