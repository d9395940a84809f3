# SPDX-License-Identifier: Apache-2.0
"""The process of one delivery: a job on stdin, its result on stdout, both one JSON object.

    {"channel": "mail", "settings": {…}, "notice": {"body": {…}, "message_id": "…",
     "references": []}}
    {"ok": true, "detail": "mail server mx port 25 took it for admins@example.org"}

It may hang for as long as it likes; notify/channel.py ends it, with all that it started.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

from ha_agent.broker.notify.delivery import (
    DeliveryFailed,
    HookSettings,
    MailSettings,
    WebhookSettings,
    post,
    run_hook,
    send_mail,
)
from ha_agent.broker.notify.message import Notice
from ha_agent.broker.snapshot import from_wire

_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4  # <linux/prctl.h>


def deliver(job: dict[str, Any]) -> str:
    """Carry a job out. Raises DeliveryFailed, BadInput."""
    told = job["notice"]
    sent = Notice(told["body"], told["message_id"], tuple(told["references"]))
    settings, where = job["settings"], "notify.settings"
    if job["channel"] == "mail":
        return send_mail(from_wire(MailSettings, settings, where=where), sent)
    if job["channel"] == "webhook":
        return post(from_wire(WebhookSettings, settings, where=where), sent)
    return run_hook(from_wire(HookSettings, settings, where=where), sent)


def keep_capabilities() -> None:
    """Let a program that is run from here have none of the broker's capabilities: it is the
    site's, and KILL is the guard's. Harmless where there are none."""
    ctypes.CDLL(None).prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def main() -> int:
    """Entry point of the process."""
    keep_capabilities()
    try:
        result = {"ok": True, "detail": deliver(json.load(sys.stdin.buffer))}
    except DeliveryFailed as fault:
        result = {"ok": False, "detail": str(fault)}
    sys.stdout.write(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
