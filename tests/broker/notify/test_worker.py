# SPDX-License-Identifier: Apache-2.0
"""The process of one delivery."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ha_agent.broker.notify.delivery import DeliveryFailed
from ha_agent.broker.notify.worker import deliver
from ha_agent.errors import BadInput

NOTICE = {"body": {"subject": "s"}, "message_id": "<a@b>", "references": []}


def test_it_answers_with_one_object() -> None:
    job = {"channel": "hook", "settings": {"path": "/nonexistent"}, "notice": NOTICE}
    done = subprocess.run(
        [sys.executable, "-m", "ha_agent.broker.notify.worker"],
        input=json.dumps(job).encode(),
        stdout=subprocess.PIPE,
        check=True,
        timeout=50,
    )
    assert json.loads(done.stdout) == {
        "ok": False,
        "detail": "/nonexistent: No such file or directory",
    }


def test_each_channel_has_its_settings() -> None:
    webhook = {"channel": "webhook", "settings": {"url": "ftp://x"}, "notice": NOTICE}
    with pytest.raises(DeliveryFailed, match="can't be used"):
        deliver(webhook)
    with pytest.raises(BadInput, match="mail_from"):
        deliver({"channel": "mail", "settings": {}, "notice": NOTICE})
