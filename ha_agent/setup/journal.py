# SPDX-License-Identifier: Apache-2.0
"""What a set-up has chosen, kept so that a re-run after a kill goes on with the same values.

`<state_dir>/setup/<verb>.json`, replaced atomically, readable by root only:

    {"format": 1, "verb": "deploy", "subject": "nfs 192.0.2.1:/he", "begun": true,
     "finished": false, "values": {"sp_uuid": "..."}, "steps": {"volumes": "..."}}

`subject` names what is set up. A set-up that was begun for one subject, so that something may
have been changed, is not gone on with for another. `values` are noted before they are used.
`steps` is for people: what each said when it was done; no step believes it. Secrets never stand
in here. While a journal is open for writing, an OFD lock on `<state_dir>/setup/lock` keeps other
set-ups of this host away.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Callable, Optional

from ha_agent.atomic_file import replace_file
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.ofd_lock import try_lock
from ha_agent.setup.step import SetupRefused
from ha_agent.vdsm_user import make_folder, vdsm_owner

FOLDER_NAME = "setup"
LOCK_NAME = "lock"
FORMAT = 1
MAX_BYTES = 1 << 20


class Journal:
    """One set-up's memory. Make it with `open_journal`, and close it."""

    def __init__(self, path: Path, content: dict[str, Any], lock_fd: Optional[int]) -> None:
        self.path = path
        self._content = content
        self._lock_fd = lock_fd

    def is_finished(self) -> bool:
        """Whether the set-up ran to its end once."""
        return self._content["finished"] is True

    def get(self, key: str) -> Optional[str]:
        """Return what was chosen for `key`, if anything."""
        value: Optional[str] = self._content["values"].get(key)
        return value

    def choose(self, key: str, make: Callable[[], str]) -> str:
        """Return what was chosen for `key`; if nothing was, choose `make()` and note it first."""
        known = self.get(key)
        if known is not None:
            return known
        value = make()
        self.note(key, value)
        return value

    def note(self, key: str, value: str) -> None:
        """Note `value`, on disk when this returns. Raises EnvironmentFault."""
        if self.get(key) != value:
            self._content["values"][key] = value
            self._write()

    def step_done(self, name: str, text: str) -> None:
        """Note for people that a step is done. Raises EnvironmentFault."""
        if self._content["steps"].get(name) != text:
            self._content["steps"][name] = text
            self._write()

    def begin(self) -> None:
        """Note that from now on something may be changed. Raises EnvironmentFault."""
        if self._content.get("begun") is not True:
            self._content["begun"] = True
            self._write()

    def finish(self) -> None:
        """Note that all is done: the next set-up may be of something else."""
        if not self.is_finished():
            self._content["finished"] = True
            self._write()

    def close(self) -> None:
        """Let go of the lock. Closing twice is harmless."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _write(self) -> None:
        if self._lock_fd is None:
            raise EnvironmentFault(f"{self.path}: not open for writing")
        text = json.dumps(self._content, indent=1, sort_keys=True) + "\n"
        try:
            replace_file(self.path, text.encode(), mode=0o600)
        except OSError as error:
            raise EnvironmentFault(f"can't write {self.path}: {error.strerror}") from None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open_journal(
    state_dir: Path, verb: str, subject: str, *, write: bool = True, anew: bool = False
) -> Journal:
    """Open the journal of `verb`, or begin it. With `write` False nothing on disk is changed.

    `anew`: one that is finished says nothing of the next run, of the same subject neither.

    Raises SetupRefused when another set-up runs on this host, or one for another subject was
    begun and not finished; BadInput when the file is not ours; EnvironmentFault.
    """
    folder = state_dir / FOLDER_NAME
    path = folder / f"{verb}.json"
    lock_fd = _lock(folder) if write else None
    try:
        content = _read(path, verb)
        if content is not None and content["subject"] != subject:
            if content.get("begun", True) and not content["finished"]:
                raise SetupRefused(
                    f"{path}: a {verb} of {content['subject']} was begun and not finished; run it "
                    f"again with its answers, or remove the file to give it up for {subject}"
                )
            content = None
        if content is not None and anew and content["finished"]:
            content = None
    except BaseException:
        if lock_fd is not None:
            os.close(lock_fd)
        raise
    fresh = {
        "format": FORMAT,
        "verb": verb,
        "subject": subject,
        "begun": False,
        "finished": False,
        "values": {},
        "steps": {},
    }
    return Journal(path, content or fresh, lock_fd)


def _lock(folder: Path) -> int:
    try:
        make_folder(folder.parent, vdsm_owner())
        folder.mkdir(mode=0o711, exist_ok=True)
        # Root's, in a folder of the daemons' user, who may have put a link there.
        if folder.is_symlink():
            raise EnvironmentFault(f"{folder}: is a link, which a set-up does not follow")
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(folder / LOCK_NAME, flags, 0o600)
    except OSError as error:
        raise EnvironmentFault(f"can't make {folder}: {error.strerror}") from None
    try:
        if not try_lock(fd, 0, 1):
            raise SetupRefused(f"another set-up of this host is at work (it holds {folder}/lock)")
    except BaseException:
        os.close(fd)
        raise
    return fd


def _read(path: Path, verb: str) -> Optional[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentFault(f"can't read {path}: {error.strerror}") from None
    try:
        content = json.loads(text)
    except ValueError:
        raise BadInput(
            "is damaged, no JSON; without it a set-up that was cut off can't go on: have it back,"
            " or remove it to begin anew on other storage",
            where=str(path),
        ) from None
    if not isinstance(content, dict) or content.get("verb") != verb:
        raise BadInput(f"no journal of {verb}", where=str(path))
    if content.get("format") != FORMAT:
        raise BadInput(f"format {content.get('format')!r} is not {FORMAT}", where=str(path))
    if not isinstance(content.get("subject"), str) or not isinstance(
        content.get("finished"), bool
    ):
        raise BadInput("subject or finished is missing", where=str(path))
    for name in ("values", "steps"):
        part = content.get(name)
        if not isinstance(part, dict) or not all(isinstance(v, str) for v in part.values()):
            raise BadInput(f"{name} is no map of texts", where=str(path))
    return content
