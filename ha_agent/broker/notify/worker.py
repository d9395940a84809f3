# SPDX-License-Identifier: Apache-2.0
"""The process of one delivery: a job on stdin, its result on stdout, both one JSON object.

    {"channel": "mail", "settings": {…}, "notice": {"body": {…}, "message_id": "…",
     "references": []}}
    {"ok": true, "detail": "mail server mx port 25 took it for admins@example.org"}

It may hang for as long as it likes; notify/channel.py ends it, with all that it started.
"""

from __future__ import annotations

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


def main() -> int:
    """Entry point of the process."""
    try:
        result = {"ok": True, "detail": deliver(json.load(sys.stdin.buffer))}
    except DeliveryFailed as fault:
        result = {"ok": False, "detail": str(fault)}
    sys.stdout.write(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
