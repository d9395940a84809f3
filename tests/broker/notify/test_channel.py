# SPDX-License-Identifier: Apache-2.0
"""Deliveries in their own processes: with a deadline, and nothing left behind."""

from __future__ import annotations

import os
from pathlib import Path

from ha_agent.broker.notify.channel import ProcessChannel, channels
from ha_agent.broker.notify.delivery import HookSettings, MailSettings, WebhookSettings
from ha_agent.broker.notify.message import Notice
from ha_agent.config import layers
from tests.broker.notify_servers import MailBox, hanging_server, smtp_server
from tests.small_config import NOWHERE, write_config

SENT = Notice(
    {"version": 1, "at_unix_seconds": 1.0, "subject": "s", "text": "t", "incidents": []},
    "<a@b.invalid>",
    (),
)


def mail(port: int, deadline_seconds: float) -> ProcessChannel:
    settings = MailSettings(
        mail_from="a@example.org",
        mail_to=("b@example.org",),
        host="127.0.0.1",
        port=port,
        security="none",
        helo="alpha",
        deadline_seconds=deadline_seconds,
    )
    return ProcessChannel("mail", settings)


async def test_a_mail_goes_out_by_a_process() -> None:
    box = MailBox()
    with smtp_server(box) as port:
        outcome = await mail(port, 50.0).deliver(SENT)
    assert outcome.ok, outcome.detail
    assert [one["Subject"] for one in box.mails] == ["s"]


async def test_what_hangs_is_ended_at_the_deadline() -> None:
    with hanging_server() as port:
        outcome = await mail(port, 0.3).deliver(SENT)
    assert not outcome.ok
    assert outcome.detail == "mail: no answer within 0.3 s"


async def test_a_program_that_hangs_goes_with_all_that_it_started(tmp_path: Path) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)
    hook = tmp_path / "hook"
    # The child holds the pipe open for writing until it is gone: a reader sees the end then.
    hook.write_text(f"#!/bin/sh\nsleep 1000 3>{started} &\nwait\n")
    hook.chmod(0o755)
    reader = os.open(started, os.O_RDONLY | os.O_NONBLOCK)
    try:
        channel = ProcessChannel("hook", HookSettings(str(hook), 2.0))
        outcome = await channel.deliver(SENT)
        assert not outcome.ok
        assert "no answer within 2 s" in outcome.detail
        os.set_blocking(reader, True)
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


async def test_a_process_that_fails_is_an_outcome() -> None:
    channel = ProcessChannel("mail", HookSettings("/bin/true", 50.0), worker="no.such.module")
    outcome = await channel.deliver(SENT)
    assert not outcome.ok
    assert "journal" in outcome.detail


def test_nothing_is_configured_nobody_is_told(tmp_path: Path) -> None:
    config = layers.load([write_config(tmp_path)], NOWHERE)
    assert channels(config.notify, "alpha", {}) == []


def test_the_channels_of_a_configuration(tmp_path: Path) -> None:
    more = (
        "[notify]\nmail_to = a@example.org, b@example.org\nsmtp_user = ha\n"
        "webhook_url_file = /etc/ha-agent/url\nhook = /usr/local/bin/tell\n"
        "deadline_seconds = 7\n"
    )
    config = layers.load([write_config(tmp_path, more)], NOWHERE)
    (tmp_path / "notify-smtp-password").write_text("x")
    made = channels(config.notify, "fe80::1%eth0", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert [one.name for one in made] == ["mail", "webhook", "hook"]
    settings = [one.settings for one in made]
    assert settings[0] == MailSettings(
        mail_from="ha-agent@localhost",
        mail_to=("a@example.org", "b@example.org"),
        host="localhost",
        port=25,
        security="none",
        helo="localhost",
        user="ha",
        password_file=str(tmp_path / "notify-smtp-password"),
        deadline_seconds=7.0,
    )
    assert settings[1] == WebhookSettings("", url_file="/etc/ha-agent/url", deadline_seconds=7.0)
    assert settings[2] == HookSettings("/usr/local/bin/tell", 7.0)
