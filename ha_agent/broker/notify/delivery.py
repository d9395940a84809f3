# SPDX-License-Identifier: Apache-2.0
"""One delivery: by SMTP, by a POST, by a program. Blocks, for a process of its own.

Everything here may hang for as long as the other end likes: notify/worker.py runs it, and
notify/channel.py ends that process at its deadline. What is raised is a DeliveryFailed with a
sentence; nothing of a secret ever stands in one.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import smtplib
import ssl
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from ha_agent import __version__
from ha_agent.broker.incidents.text import one_line
from ha_agent.broker.notify.message import Notice, mail
from ha_agent.errors import BadInput, EnvironmentFault

_MAX_SECRET_BYTES = 4096
_MAX_SAID = 300
_LAST_WORDS_SECONDS = 2.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class DeliveryFailed(EnvironmentFault):
    """The message was not taken. It is tried again later."""


@dataclass(frozen=True)
class MailSettings:
    """Where e-mail goes. Files are paths, read at each delivery; "" for none."""

    mail_from: str
    mail_to: tuple[str, ...]
    host: str
    port: int
    security: str
    helo: str
    ca_file: str = ""
    user: str = ""
    password_file: str = ""
    deadline_seconds: float = 30.0


@dataclass(frozen=True)
class WebhookSettings:
    """Where a POST goes. `url_file` goes before `url`."""

    url: str
    url_file: str = ""
    ca_file: str = ""
    secret_file: str = ""
    deadline_seconds: float = 30.0


@dataclass(frozen=True)
class HookSettings:
    """The program that is run."""

    path: str
    deadline_seconds: float = 30.0


def secret(path: str) -> str:
    """Return the first line of a file. Raises DeliveryFailed."""
    try:
        with Path(path).open("rb") as file:
            line = file.read(_MAX_SECRET_BYTES).split(b"\n")[0].rstrip(b"\r")
        text = line.decode("utf-8")
    except OSError as error:
        raise DeliveryFailed(f"{path}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise DeliveryFailed(f"{path}: is not UTF-8 text") from None
    if not text or not text.isprintable():
        raise DeliveryFailed(f"{path}: its first line is empty, or has control characters")
    return text


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise DeliveryFailed(f"{ca_file}: no CA can be read from it: {error}") from error


# E-mail -----------------------------------------------------------------------------------


def send_mail(settings: MailSettings, sent: Notice) -> str:
    """Send it; returns what became of it in a few words. Raises DeliveryFailed."""
    where = f"mail server {settings.host} port {settings.port}"
    try:
        message = mail(sent, mail_from=settings.mail_from, mail_to=settings.mail_to)
    except BadInput as fault:
        raise DeliveryFailed(str(fault)) from fault
    try:
        with _connect(settings) as smtp:
            if settings.security == "starttls":
                smtp.starttls(context=_context(settings.ca_file))
                smtp.ehlo()
            if settings.user:
                smtp.login(settings.user, _password(settings))
            refused = smtp.send_message(message, settings.mail_from, list(settings.mail_to))
    except smtplib.SMTPRecipientsRefused as error:
        codes = [f"{who}: {code} {_said(text)}" for who, (code, text) in error.recipients.items()]
        raise DeliveryFailed(f"{where} refused: {'; '.join(codes)}") from error
    except smtplib.SMTPResponseException as error:
        answer = f"{error.smtp_code} {_said(error.smtp_error)}"
        raise DeliveryFailed(f"{where} answered {answer}") from error
    except smtplib.SMTPException as error:
        raise DeliveryFailed(f"{where}: {one_line(str(error), _MAX_SAID)}") from error
    except ssl.SSLCertVerificationError as error:
        raise DeliveryFailed(f"{where}: its certificate: {error.verify_message}") from error
    except (OSError, UnicodeError) as error:
        raise DeliveryFailed(f"{where}: {one_line(str(error), _MAX_SAID)}") from error
    if refused:
        return f"{where} took it, but not for {', '.join(sorted(refused))}"
    return f"{where} took it for {', '.join(settings.mail_to)}"


def _password(settings: MailSettings) -> str:
    if not settings.password_file:
        raise DeliveryFailed("smtp_user is set, but there is no password for it")
    return secret(settings.password_file)


def _connect(settings: MailSettings) -> smtplib.SMTP:
    # Without a name of ours smtplib would ask the resolver for one, which may hang.
    if settings.security == "tls":
        return smtplib.SMTP_SSL(
            settings.host,
            settings.port,
            local_hostname=settings.helo,
            timeout=settings.deadline_seconds,
            context=_context(settings.ca_file),
        )
    return smtplib.SMTP(
        settings.host,
        settings.port,
        local_hostname=settings.helo,
        timeout=settings.deadline_seconds,
    )


def _said(text: object) -> str:
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return one_line(str(text), _MAX_SAID)


# Webhook -----------------------------------------------------------------------------------


def post(settings: WebhookSettings, sent: Notice) -> str:
    """POST it as JSON; returns what became of it in a few words. Raises DeliveryFailed.

    A redirection is a failure: it would send what is signed to somebody else.
    """
    url = secret(settings.url_file) if settings.url_file else settings.url
    # The path may be a secret, the host is none.
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise DeliveryFailed("the webhook's URL can't be used") from None
    if parts.scheme not in ("http", "https") or not host or not url.isascii():
        raise DeliveryFailed("the webhook's URL can't be used")
    where = f"webhook at {host}"
    body = json.dumps(sent.body).encode("ascii")
    headers = {"Content-Type": "application/json", "User-Agent": f"ha-agent/{__version__}"}
    if settings.secret_file:
        if parts.scheme != "https":
            raise DeliveryFailed(f"{where}: what is signed is sent by https only")
        key = secret(settings.secret_file).encode("utf-8")
        digest = hmac.new(key, body, hashlib.sha256).hexdigest()
        headers["X-Ha-Agent-Signature"] = f"sha256={digest}"
    seconds = settings.deadline_seconds
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = _context(settings.ca_file)
        connection = http.client.HTTPSConnection(host, port, timeout=seconds, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=seconds)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", target, body=body, headers=headers)
        response = connection.getresponse()
        status = f"{response.status} {one_line(response.reason, _MAX_SAID)}"
    except ssl.SSLCertVerificationError as error:
        raise DeliveryFailed(f"{where}: its certificate: {error.verify_message}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        # An error may quote the target, which may be a secret.
        said = one_line(str(error), _MAX_SAID)
        said = said.replace(target, "…") if len(target) > 1 else said
        raise DeliveryFailed(f"{where}: {said or type(error).__name__}") from error
    finally:
        connection.close()
    if not 200 <= response.status < 300:
        raise DeliveryFailed(f"{where} answered {status}")
    return f"{where} answered {status}"


# Program -----------------------------------------------------------------------------------


def run_hook(settings: HookSettings, sent: Notice) -> str:
    """Run the program with the JSON on its stdin. Raises DeliveryFailed.

    It gets an environment of its own, without our credentials, and its output is thrown away but
    for the beginning of stderr.
    """
    with tempfile.TemporaryFile() as stdin:
        stdin.write(json.dumps(sent.body).encode("ascii") + b"\n")
        stdin.seek(0)
        try:
            process = subprocess.Popen(
                [settings.path],
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd="/",
                env={"PATH": _PATH, "LANG": "C.UTF-8"},
            )
        except OSError as error:
            raise DeliveryFailed(f"{settings.path}: {error.strerror}") from error
    assert process.stderr is not None
    said = bytearray()
    # Aside, because its end says nothing: a daemon that the program leaves behind keeps it open.
    reader = threading.Thread(target=_read_beginning, args=(process.stderr, said), daemon=True)
    reader.start()
    process.wait()
    reader.join(_LAST_WORDS_SECONDS)
    text = f": {_said(bytes(said))}" if said else ""
    if process.returncode:
        raise DeliveryFailed(f"{settings.path} ended with {process.returncode}{text}")
    return f"{settings.path} ended with 0{text}"


def _read_beginning(stream: IO[bytes], said: bytearray) -> None:
    while True:
        chunk = os.read(stream.fileno(), 65536)
        if not chunk:
            stream.close()
            return
        said += chunk[: _MAX_SAID - len(said)]
