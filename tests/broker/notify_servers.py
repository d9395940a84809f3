# SPDX-License-Identifier: Apache-2.0
"""Real servers that notifications are delivered to: SMTP by aiosmtpd, HTTPS by http.server."""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any, Optional

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


class Certificates:
    """A CA and a certificate for localhost, as files."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        self._issued = authority.issue_cert("localhost", "127.0.0.1")

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._issued.configure_cert(context)
        return context


class MailBox:
    """What the SMTP server was given; `answer` is what it says to the message instead of 250."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.to: list[list[str]] = []
        self.answer = ""
        self.logins: list[tuple[bytes, bytes]] = []

    @property
    def mails(self) -> list[Message]:
        return [message_from_bytes(raw) for raw in self.raw]

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.answer:
            return self.answer
        assert isinstance(envelope.original_content, bytes)
        self.raw.append(envelope.original_content)
        self.to.append(list(envelope.rcpt_tos))
        return "250 OK"

    def login(
        self, _server: Any, _session: Any, _envelope: Any, _how: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"correct horse", handled=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def smtp_server(
    box: MailBox,
    *,
    starttls: Optional[ssl.SSLContext] = None,
    tls: Optional[ssl.SSLContext] = None,
) -> Iterator[int]:
    """Run a mail server; yields its port. With `starttls` it wants TLS and a login."""
    options: dict[str, Any] = {}
    if starttls is not None:
        options = {
            "tls_context": starttls,
            "require_starttls": True,
            "authenticator": box.login,
            "auth_required": True,
        }
    port = free_port()
    controller = Controller(
        box, hostname="127.0.0.1", port=port, ssl_context=tls, server_hostname="test", **options
    )
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


@contextmanager
def hanging_server() -> Iterator[int]:
    """Listen, let the kernel accept, and never say a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)
        yield int(listener.getsockname()[1])


class Posts:
    """What the webhook got, and what it answers with."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 204
        self.location = ""


@contextmanager
def web_server(posts: Posts, tls: ssl.SSLContext) -> Iterator[int]:
    """Run a web server that takes POSTs; yields its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posts.got.append((self.path, dict(self.headers.items()), body))
            self.send_response(posts.status)
            if posts.location:
                self.send_header("Location", posts.location)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(http.server.HTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that refuses our certificate is what a test may want

    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
