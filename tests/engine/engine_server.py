# SPDX-License-Identifier: Apache-2.0
"""An engine's web server: HTTPS, sign-on, health page, API, and what goes wrong with them."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Optional

from tests.engine.engine_model import Model, Refusal, element
from tests.push_certs import Pair, Pki

USER, PASSWORD = "admin@internal", "sec ret"
API = "/ovirt-engine/api"
PAGE = b"<html><body>Service Unavailable</body></html>"


@dataclass
class Trouble:
    """What happens to requests like `GET /hosts` (a pattern), the next `times` of them.

    Kinds: "reset" cuts the connection before anything is done, "lost" afterwards, in the middle
    of the answer; "page" answers with HTML; "fault" with a fault; "torn" with XML that ends too
    soon; "bare" without a content type; "hang" does not answer while the server lives;
    "expired" with 401, and no token is good any more. `killed` is called after the request took
    effect, or while the client hangs.
    """

    pattern: str
    kind: str
    times: int = 1
    code: int = 500
    reason: str = "Operation Failed"
    detail: str = ""
    killed: Optional[Callable[[], None]] = None


class EngineServer:
    """The state behind the web server; `url` is the API's."""

    def __init__(self, model: Model, pki: Pki, port: int) -> None:
        self.model = model
        self.ca = str(pki.ca)
        self.url = f"https://localhost:{port}{API}"
        self.troubles: list[Trouble] = []
        self.requests: list[str] = []
        self.logins = 0
        self.starting = 0  # so many requests are answered with 503, whatever they ask for
        self.health = (200, b"DB Up!Welcome to Health Status!")
        self.ended = threading.Event()
        self._tokens: set[str] = set()
        self._lock = threading.Lock()

    def expire_tokens(self) -> None:
        """Have everybody log in again."""
        self._tokens.clear()

    def trouble(self, asked: str) -> Optional[Trouble]:
        """Note a request, and return what is to go wrong with it."""
        with self._lock:
            self.requests.append(asked)
            if self.starting > 0:
                self.starting -= 1
                return Trouble("", "page", code=503)
            for one in self.troubles:
                if one.times > 0 and re.fullmatch(one.pattern, asked):
                    one.times -= 1
                    return one
        return None

    def sign_on(self, body: bytes) -> dict[str, Any]:
        """Answer as the engine's SSO does."""
        form = dict(urllib.parse.parse_qsl(body.decode()))
        if (form.get("username"), form.get("password")) != (USER, PASSWORD):
            return {
                "error_code": "access_denied",
                "error": f"Cannot authenticate user '{form.get('username')}': The username or "
                "password is incorrect..",
            }
        with self._lock:
            self.logins += 1
            token = f"token-{self.logins}"
            self._tokens.add(token)
        return {"access_token": token, "scope": "ovirt-app-api", "token_type": "bearer"}

    def is_good(self, authorization: str) -> bool:
        """Tell whether a request may pass."""
        return authorization.partition(" ")[2] in self._tokens

    def api(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        """Answer a request below the API's path."""
        parts = urllib.parse.urlsplit(target)
        path = urllib.parse.unquote(parts.path[len(API) :])
        query = dict(urllib.parse.parse_qsl(parts.query))
        with self._lock:
            try:
                code, answer = self.model.answer(method, path, query, body)
            except Refusal as refusal:
                code, answer = refusal.code, refusal.answer
        return code, b"" if answer is None else ET.tostring(answer)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    engine: EngineServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave in the middle are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def _handle(self) -> None:
        engine = self.server.engine
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urllib.parse.urlsplit(self.path).path
        asked = f"{self.command} {path[len(API) :] if path.startswith(API) else path}"
        trouble = engine.trouble(asked)
        if trouble is not None and self._spoil(trouble, body):
            return
        if path == "/ovirt-engine/services/health":
            self._send(*engine.health, "text/plain")
        elif path == "/ovirt-engine/sso/oauth/token":
            self._send_json(engine.sign_on(body))
        elif path == "/ovirt-engine/services/sso-logout":
            self._send_json({})
        elif not path.startswith(API):
            self._send(404, PAGE, "text/html")
        elif not engine.is_good(self.headers.get("Authorization", "")):
            self._send(
                401, ET.tostring(element("fault", {}, reason="Unauthorized")), "application/xml"
            )
        else:
            code, answer = engine.api(self.command, self.path, body)
            self._send(code, answer, "application/xml;charset=UTF-8")

    def _spoil(self, trouble: Trouble, body: bytes) -> bool:
        """Do what is to go wrong; False: go on as usual."""
        engine = self.server.engine
        if trouble.kind == "expired":
            engine.expire_tokens()
            return False
        if trouble.kind == "page":
            self._send(trouble.code, PAGE, "text/html; charset=UTF-8")
        elif trouble.kind == "fault":
            fault = element("fault", {}, reason=trouble.reason, detail=trouble.detail)
            self._send(trouble.code, ET.tostring(fault), "application/xml")
        elif trouble.kind == "hang":
            if trouble.killed is not None:
                trouble.killed()
            engine.ended.wait(60)
        elif trouble.kind == "reset":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            code, answer = engine.api(self.command, self.path, body)
            if trouble.killed is not None:
                trouble.killed()
            if trouble.kind == "torn":
                self._send(code, answer[: len(answer) // 2], "application/xml")
            elif trouble.kind == "bare":
                self._send(code, answer, "")
            else:
                self._send(code, answer, "application/xml", cut=True)
        return True

    def _send_json(self, content: dict[str, Any]) -> None:
        self._send(200, json.dumps(content).encode(), "application/json;charset=UTF-8")

    def _send(self, code: int, body: bytes, kind: str, *, cut: bool = False) -> None:
        self.send_response(code)
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) + (100 if cut else 0)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.close_connection or cut


@contextlib.contextmanager
def serving(folder: Path, model: Model, pair: Optional[Pair] = None) -> Iterator[EngineServer]:
    """Serve the model at localhost, with a certificate of that name unless another is given."""
    pki = Pki(folder / "pki")
    pair = pair or pki.pair("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(pair.cert), str(pair.key))
    server = _Server(("127.0.0.1", 0), _Handler)
    engine = server.engine = EngineServer(model, pki, server.server_address[1])
    # Not at accept: a client that says nothing would stop all others.
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield engine
    finally:
        engine.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
