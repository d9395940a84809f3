# SPDX-License-Identifier: Apache-2.0
"""Deliveries to real servers and programs, good and bad."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ha_agent.broker.notify.delivery import (
    DeliveryFailed,
    HookSettings,
    MailSettings,
    WebhookSettings,
    post,
    run_hook,
    secret,
    send_mail,
)
from ha_agent.broker.notify.message import Notice
from tests.broker.notify_servers import (
    Certificates,
    MailBox,
    Posts,
    free_port,
    hanging_server,
    smtp_server,
    web_server,
)

SENT = Notice(
    {
        "version": 1,
        "at_unix_seconds": 1_700_000_000.0,
        "subject": "[hosted engine] critical: The engine VM is down",
        "text": "Grüße: it is down.\n.\nend\n",
        "incidents": [],
    },
    "<1-1700000000@vm.ha-agent.invalid>",
    (),
)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def mail_settings(port: int) -> MailSettings:
    return MailSettings(
        mail_from="ha-agent@alpha.example.org",
        mail_to=("admins@example.org", "night@example.org"),
        host="localhost",
        port=port,
        security="none",
        helo="alpha.example.org",
        deadline_seconds=20.0,
    )


def test_a_mail_has_what_mails_need() -> None:
    box = MailBox()
    with smtp_server(box) as port:
        said = send_mail(mail_settings(port), SENT)
    assert "took it" in said
    assert box.to == [["admins@example.org", "night@example.org"]]
    (mail,) = box.mails
    assert mail["Subject"] == SENT.body["subject"]
    assert mail["Date"].startswith(("Tue, 14 Nov 2023", "Wed, 15 Nov 2023"))
    assert mail["Message-ID"] == SENT.message_id
    assert "ha-agent@alpha.example.org" in mail["From"]
    payload = mail.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.decode("utf-8").replace("\r\n", "\n") == SENT.body["text"]


def test_starttls_and_login(tmp_path: Path, certificates: Certificates) -> None:
    password = tmp_path / "password"
    password.write_text("correct horse\n")
    box = MailBox()
    with smtp_server(box, starttls=certificates.server_context()) as port:
        settings = replace(
            mail_settings(port),
            security="starttls",
            ca_file=str(certificates.ca_file),
            user="ha",
            password_file=str(password),
        )
        send_mail(settings, SENT)
        assert box.logins == [(b"ha", b"correct horse")]
        assert len(box.raw) == 1
        password.write_text("battery staple\n")
        with pytest.raises(DeliveryFailed, match="535") as caught:
            send_mail(settings, SENT)
        assert "battery" not in str(caught.value)
        with pytest.raises(DeliveryFailed, match="certificate"):
            send_mail(replace(settings, ca_file=""), SENT)
    assert len(box.raw) == 1


def test_tls_from_the_first_byte(certificates: Certificates) -> None:
    box = MailBox()
    with smtp_server(box, tls=certificates.server_context()) as port:
        settings = replace(mail_settings(port), security="tls", ca_file=str(certificates.ca_file))
        send_mail(settings, SENT)
    assert len(box.raw) == 1


def test_starttls_is_never_left_out() -> None:
    box = MailBox()
    with smtp_server(box) as port, pytest.raises(DeliveryFailed, match="STARTTLS"):
        send_mail(replace(mail_settings(port), security="starttls"), SENT)
    assert box.raw == []


@pytest.mark.parametrize("answer", ["451 try later", "554 go away\r\n"])
def test_what_the_mail_server_says_is_told(answer: str) -> None:
    box = MailBox()
    box.answer = answer.strip()
    with smtp_server(box) as port, pytest.raises(DeliveryFailed, match=answer[:3]):
        send_mail(mail_settings(port), SENT)


def test_no_mail_server() -> None:
    with pytest.raises(DeliveryFailed, match="refused"):
        send_mail(mail_settings(free_port()), SENT)


def test_a_mail_server_that_hangs() -> None:
    with hanging_server() as port, pytest.raises(DeliveryFailed, match="timed out"):
        send_mail(replace(mail_settings(port), host="127.0.0.1", deadline_seconds=0.2), SENT)


def test_no_header_can_be_made_by_what_is_told() -> None:
    body = {**SENT.body, "subject": "down\r\nBcc: x@example.org\n\nbody\x00 \u2028 ü"}
    evil = Notice(body, "<a@b>\r\nX-Evil: 1", ("<c@d>\nX-Evil: 2",))
    box = MailBox()
    with smtp_server(box) as port:
        send_mail(mail_settings(port), evil)
    (mail,) = box.mails
    assert mail["Bcc"] is None
    assert mail["X-Evil"] is None
    assert box.to == [["admins@example.org", "night@example.org"]]
    head = box.raw[0].split(b"\r\n\r\n")[0]
    assert not [line for line in head.split(b"\r\n") if line.startswith((b"Bcc", b"X-Evil"))]


def test_a_webhook_gets_signed_json(tmp_path: Path, certificates: Certificates) -> None:
    key = tmp_path / "key"
    key.write_text("s3cret\nmore\n")
    posts = Posts()
    with web_server(posts, certificates.server_context()) as port:
        settings = WebhookSettings(
            f"https://localhost:{port}/hook?to=ops",
            ca_file=str(certificates.ca_file),
            secret_file=str(key),
            deadline_seconds=20.0,
        )
        assert post(settings, SENT) == "webhook at localhost answered 204 No Content"
        ((path, headers, body),) = posts.got
        assert path == "/hook?to=ops"
        assert json.loads(body) == SENT.body
        digest = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
        assert headers["X-Ha-Agent-Signature"] == f"sha256={digest}"
        posts.status, posts.location = 302, "https://elsewhere.example.org/"
        with pytest.raises(DeliveryFailed, match="302"):
            post(settings, SENT)
        posts.status = 500
        with pytest.raises(DeliveryFailed, match="500"):
            post(settings, SENT)
        with pytest.raises(DeliveryFailed, match="certificate"):
            post(replace(settings, ca_file=""), SENT)


def test_a_secret_url_is_told_to_nobody(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"http://127.0.0.1:{free_port()}/T0K3N\n")
    with pytest.raises(DeliveryFailed) as caught:
        post(WebhookSettings("", url_file=str(file)), SENT)
    assert "127.0.0.1" in str(caught.value)
    assert "T0K3N" not in str(caught.value)
    file.write_text("http://[/T0K3N")
    with pytest.raises(DeliveryFailed) as caught:
        post(WebhookSettings("", url_file=str(file)), SENT)
    assert "T0K3N" not in str(caught.value)


def test_a_webhook_that_hangs() -> None:
    with hanging_server() as port, pytest.raises(DeliveryFailed, match="timed out"):
        post(WebhookSettings(f"http://127.0.0.1:{port}/", deadline_seconds=0.2), SENT)


def test_what_is_signed_is_not_sent_in_clear(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("s3cret")
    with pytest.raises(DeliveryFailed, match="https only"):
        post(WebhookSettings("http://127.0.0.1:1/", secret_file=str(key)), SENT)


def program(tmp_path: Path, text: str) -> HookSettings:
    path = tmp_path / "hook"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return HookSettings(str(path))


def test_a_program_gets_the_json_and_none_of_our_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    out = tmp_path / "out"
    hook = program(tmp_path, f"cat > {out}; env >> {out}; yes | head -c 200000 >&2")
    assert "ended with 0" in run_hook(hook, SENT)
    first, *rest = out.read_text().splitlines()
    assert json.loads(first) == SENT.body
    assert not [line for line in rest if "CREDENTIALS" in line]


def test_a_program_that_fails(tmp_path: Path) -> None:
    with pytest.raises(DeliveryFailed, match="ended with 3: no way"):
        run_hook(program(tmp_path, "echo 'no way' >&2; exit 3"), SENT)
    with pytest.raises(DeliveryFailed, match="No such file"):
        run_hook(HookSettings(str(tmp_path / "absent")), SENT)


@pytest.mark.parametrize("content", [b"", b"\nx", b"\xff\xfe", b"a\x07b"])
def test_a_secret_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(DeliveryFailed, match="secret"):
        secret(str(path))
    with pytest.raises(DeliveryFailed, match="can't be read"):
        secret(str(tmp_path / "absent"))


def test_a_program_that_leaves_a_daemon_behind_has_told(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    # As a careless daemon does: a session of its own, and our stderr kept open.
    hook = program(tmp_path, f"echo hello >&2; setsid sh -c 'echo $$ > {pid_file}; sleep 1000' &")
    try:
        assert "ended with 0: hello" in run_hook(hook, SENT)
    finally:
        while not pid_file.exists() or not pid_file.read_text():
            threading.Event().wait(0.01)
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
