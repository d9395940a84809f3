# SPDX-License-Identifier: Apache-2.0
"""One way to tell people: a process for each delivery, with a deadline.

A mail server that hangs, a resolver that does, a program that never ends: they hang in a process
that is killed with all its children, and nothing of the broker waits for it but the task that
started it. A deadline that passed may mean that the message was taken all the same; it is sent
again, because twice is better than never.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from ha_agent.broker.incidents.text import one_line
from ha_agent.broker.notify.delivery import HookSettings, MailSettings, WebhookSettings
from ha_agent.broker.notify.message import Notice
from ha_agent.broker.snapshot import to_wire
from ha_agent.config.schema import NotifyConfig
from ha_agent.waiting import within

PASSWORD_CREDENTIAL = "notify-smtp-password"
SECRET_CREDENTIAL = "notify-webhook-secret"
_REAP_SECONDS = 1.0
_MAX_DETAIL = 1000


@dataclass(frozen=True)
class Outcome:
    """Whether a message was taken, and a sentence about it."""

    ok: bool
    detail: str


class ProcessChannel:
    """Delivers by a worker process. `name` is mail, webhook or hook."""

    def __init__(
        self,
        name: str,
        settings: Union[MailSettings, WebhookSettings, HookSettings],
        worker: str = "ha_agent.broker.notify.worker",
    ) -> None:
        self.name = name
        self.settings = settings
        self._worker = worker

    async def deliver(self, notice: Notice) -> Outcome:
        """Try once, within the channel's deadline. Raises nothing but a cancellation."""
        job = {
            "channel": self.name,
            "settings": to_wire(self.settings),
            "notice": to_wire(notice),
        }
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-m",
                self._worker,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            return Outcome(False, f"no process can be started: {error.strerror}")
        seconds = self.settings.deadline_seconds
        try:
            out, _ = await within(seconds, process.communicate(json.dumps(job).encode("ascii")))
        except asyncio.TimeoutError:
            return Outcome(False, f"{self.name}: no answer within {seconds:g} s")
        finally:
            await _end(process)
        return _outcome(out, self.name)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill it and what it started: a program may leave children behind, also when it ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.returncode is None:
        with contextlib.suppress(asyncio.TimeoutError):
            await within(_REAP_SECONDS, process.wait())


def _outcome(out: bytes, name: str) -> Outcome:
    try:
        value: Any = json.loads(out)
        return Outcome(value["ok"] is True, one_line(str(value["detail"]), _MAX_DETAIL))
    except (ValueError, TypeError, KeyError, RecursionError):
        return Outcome(False, f"{name}: its process failed; the journal says more")


def channels(
    config: NotifyConfig, host_name: str, environ: Mapping[str, str]
) -> list[ProcessChannel]:
    """Return the channels that are configured. `environ`: for systemd's credentials."""
    seconds = config.deadline_seconds
    name = host_name or "localhost"
    found = []
    if config.mail_to:
        found.append(
            ProcessChannel(
                "mail",
                MailSettings(
                    mail_from=config.mail_from or f"ha-agent@{_domain(name)}",
                    mail_to=config.mail_to,
                    host=config.smtp_host,
                    port=config.smtp_port,
                    security=config.smtp_security,
                    helo=_domain(name),
                    ca_file=str(config.smtp_ca_file or ""),
                    user=config.smtp_user,
                    password_file=_secret(config.smtp_password_file, PASSWORD_CREDENTIAL, environ),
                    deadline_seconds=seconds,
                ),
            )
        )
    if config.webhook_url or config.webhook_url_file:
        found.append(
            ProcessChannel(
                "webhook",
                WebhookSettings(
                    url=config.webhook_url,
                    url_file=str(config.webhook_url_file or ""),
                    ca_file=str(config.webhook_ca_file or ""),
                    secret_file=_secret(config.webhook_secret_file, SECRET_CREDENTIAL, environ),
                    deadline_seconds=seconds,
                ),
            )
        )
    if config.hook is not None:
        found.append(ProcessChannel("hook", HookSettings(str(config.hook), seconds)))
    return found


def _domain(host_name: str) -> str:
    """A host's name for addresses and greetings; one that is none (a zone, an IPv6) is replaced,
    or mail servers refuse what comes from it."""
    ok = host_name.isascii() and all(c.isalnum() or c in ".-" for c in host_name)
    return host_name.strip(".-") or "localhost" if ok else "localhost"


def _secret(path: Union[Path, None], credential: str, environ: Mapping[str, str]) -> str:
    if path is not None:
        return str(path)
    folder = environ.get("CREDENTIALS_DIRECTORY", "")
    file = Path(folder) / credential
    return str(file) if folder and file.exists() else ""
