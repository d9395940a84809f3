# SPDX-License-Identifier: Apache-2.0
"""One call over the engine's push, blocking: the reference for docs/push.md, and `ha-agent push`.

It does what an engine has to do, and no more: connect, TLS with a certificate of its own, look
that the host is the one that was meant, one MessagePack-RPC request, one answer. One deadline
covers all of it; connecting and the handshake have a shorter one, so that the next host can be
asked soon when a host is dead.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from ha_agent.broker.rpc import codec as rpc_codec
from ha_agent.broker.rpc.call import NowClock, result_of
from ha_agent.broker.rpc.codec import Notification, Request, Response, RpcDecoder
from ha_agent.errors import BadInput, EnvironmentFault

_READ_BYTES = 64 * 1024
_MSGID = 1


class PushUnreachable(EnvironmentFault):
    """No answer from a host. The call may have taken effect when `sent`."""

    def __init__(self, host: str, reason: str, *, sent: bool = False) -> None:
        super().__init__(f"{host}: {reason}")
        self.host = host
        self.reason = reason
        self.sent = sent


@dataclass(frozen=True)
class Target:
    """A host's listener; `server_name` is what its certificate must name."""

    host: str
    port: int
    server_name: str

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Deadlines:
    """Seconds, of one host."""

    connect_seconds: float
    call_seconds: float


def client_context(cert_file: Path, key_file: Path, ca_file: Path) -> ssl.SSLContext:
    """Return the settings of a client. Raises BadInput that names the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    what = f"{cert_file} and {key_file}"
    try:
        # Without a password of ours OpenSSL would ask for one at the terminal.
        context.load_cert_chain(cert_file, key_file, password=b"")
        what = str(ca_file)
        context.load_verify_locations(ca_file)
    except ssl.SSLError as error:
        raise BadInput(f"can't be used for TLS: {_words(error)}", where=what) from error
    except OSError as error:
        raise BadInput(error.strerror or str(error), where=what) from error
    except ValueError as error:
        raise BadInput(f"the key has a password: {error}", where=what) from error
    return context


def call_host(
    target: Target,
    context: ssl.SSLContext,
    method: str,
    params: Mapping[str, Any],
    deadlines: Deadlines,
    *,
    clock: NowClock,
) -> Any:
    """Call `method` at one host and return its result.

    Raises PushUnreachable, RpcCallFailed for an error that the host answered with.
    """
    request = rpc_codec.encode(Request(_MSGID, method, params))
    ends_at = clock.now() + deadlines.call_seconds
    sent = False
    try:
        with _connected(target, context, deadlines.connect_seconds) as stream:
            # A host that turns us away may close before it has read everything, but says why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                stream.settimeout(_left(ends_at - clock.now()))
                sent = True
                stream.sendall(request)
            decoder = RpcDecoder()
            while True:
                stream.settimeout(_left(ends_at - clock.now()))
                data = stream.recv(_READ_BYTES)
                if not data:
                    reason = "the connection ended before the answer"
                    raise PushUnreachable(str(target), reason, sent=sent)
                for message in decoder.feed(data):
                    answer = _answer_in(message, target)
                    if answer is not None:
                        return result_of(answer)
    except socket.timeout:
        seconds = deadlines.call_seconds if sent else deadlines.connect_seconds
        raise PushUnreachable(str(target), f"no answer within {seconds:g} s", sent=sent) from None
    except rpc_codec.RpcCodecError as error:
        reason = f"its answer can't be read: {error}"
        raise PushUnreachable(str(target), reason, sent=sent) from error
    except OSError as error:
        raise PushUnreachable(str(target), _reason(error), sent=sent) from error


def _connected(target: Target, context: ssl.SSLContext, timeout_seconds: float) -> ssl.SSLSocket:
    sock = socket.create_connection((target.host, target.port), timeout_seconds)
    try:
        return context.wrap_socket(sock, server_hostname=target.server_name)
    except BaseException:
        sock.close()
        raise


def _left(seconds: float) -> float:
    # 0 would mean "don't block" to a socket.
    return max(seconds, 0.001)


def _answer_in(message: rpc_codec.Message, target: Target) -> Optional[Response]:
    if isinstance(message, Response) and message.msgid == _MSGID:
        return message
    if isinstance(message, Notification) and message.method == rpc_codec.CLOSING:
        # The request was not carried out: it is refused as a whole.
        code, text = message.params.get("code"), message.params.get("message")
        raise PushUnreachable(str(target), f"it closes the connection: {text} ({code})")
    return None


def _reason(error: OSError) -> str:
    """Return why a connection failed, in words for an operator."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted here: {error.verify_message or error}"
    if isinstance(error, ssl.SSLError):
        words = _words(error)
        if "alert" in words:
            return f"it refuses our certificate, or TLS with us: {words}"
        return f"TLS failed: {words}"
    if isinstance(error, socket.gaierror):
        return f"its name is not found: {error.strerror}"
    if error.errno == errno.ECONNREFUSED:
        return "nobody listens there; is [push] listen_address set?"
    if error.errno == errno.ECONNRESET:
        return "it ended the connection at once; its log says why"
    return error.strerror or str(error)


def _words(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
