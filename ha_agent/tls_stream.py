# SPDX-License-Identifier: Apache-2.0
"""One TLS connection from its accepted socket on, as a server: of the engine's push, and of the
embedded VDSM.

asyncio's own TLS closes the socket when a handshake fails, without the alert that says why
(CPython 3.9 to 3.13, asyncio/sslproto.py), so the other end's log would say "connection reset" for
an expired certificate. Here OpenSSL reads and writes memory, and the alert is sent.

What may be sent is what TlsStream offers: `handshake` once, then it is a rpc.peer.Reads and a
rpc.peer.Writes, and `dispose` at the end. It knows no deadline: its callers do.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

_READ_BYTES = 64 * 1024
_LINGER_PAUSE_SECONDS = 0.002
# A cancelled read has left the selector after one for each task that waits for another, and one.
_TURNS = 5
# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of openssl/x509_vfy.h.
_OUT_OF_DATE = (9, 10)
# ContentType.handshake (RFC 8446, 5.1): what a TLS client's first byte is.
_HANDSHAKE = b"\x16"


class NotTls(ConnectionError):
    """The other end speaks in the clear."""


class TlsStream:
    """A connected, non-blocking socket under TLS, in the role of the server."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._flushing = asyncio.Lock()
        self._closing = False

    async def handshake(self) -> None:
        """Agree with the other end. Raises ssl.SSLError, after its alert was sent, or OSError.

        `wait_closed` sees to it that the alert arrives.
        """
        data = await self._receive()
        # OpenSSL takes the first byte of a MessagePack request for SSL 2, and waits for more.
        if data and not data.startswith(_HANDSHAKE):
            raise NotTls
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._exchange()
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    await self.drain()
                raise
            else:
                await self.drain()
                return

    def peer_certificate(self) -> bytes:
        """Return the certificate of the other end, DER; it was checked against the CA."""
        return self._tls.getpeercert(binary_form=True) or b""

    # Reads and Writes --------------------------------------------------------------------

    @property
    def transport(self) -> TlsStream:
        """What `abort` is called on."""
        return self

    async def read(self, n: int = _READ_BYTES) -> bytes:
        """Return what has come, at most `n` bytes; b"" at the end. Raises OSError."""
        while not self._closing:
            try:
                return self._tls.read(n)
            except ssl.SSLWantReadError:
                await self._exchange()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                # Messages tell their own length, so a cut one is seen without a close_notify.
                return b""
        return b""

    def write(self, data: bytes) -> None:
        """Take `data` to be sent by the next `drain`."""
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view) :]

    async def drain(self) -> None:
        """Send all that was written. Raises OSError."""
        async with self._flushing:
            data = self._outgoing.read()
            if data:
                await asyncio.get_running_loop().sock_sendall(self._sock, data)

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._closing

    def close(self) -> None:
        """Say goodbye; `wait_closed` sends it."""
        # It asks for the other end's goodbye, which nobody needs.
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        self._closing = True

    async def wait_closed(self) -> None:
        """Send the rest, and wait until the other end has closed, too. Raises OSError."""
        await self.drain()
        await self._linger()

    def abort(self) -> None:
        """End at once: whoever reads or writes here gets an end or an error."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    async def dispose(self) -> None:
        """Give the descriptor back, after `abort` if need be."""
        self.abort()
        # Calls that were cancelled leave the loop's selector in its next turns; before that the
        # descriptor's number must not be anybody else's.
        async with self._flushing:
            pass
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        self._sock.close()

    async def _exchange(self) -> None:
        """Send what OpenSSL has to say, and wait for more from the other end."""
        await self.drain()
        await self._receive()

    async def _receive(self) -> bytes:
        data = await asyncio.get_running_loop().sock_recv(self._sock, _READ_BYTES)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        # sock_recv doesn't wait while there is something: who sends without a pause would have
        # the loop to itself, and the lease is renewed by the same loop.
        await asyncio.sleep(0)
        return data

    async def _linger(self) -> None:
        """Read on until the other end closes: closing over unread bytes would reset the
        connection, and our last words would be lost with it."""
        loop = asyncio.get_running_loop()
        self._sock.shutdown(socket.SHUT_WR)
        while True:
            if not await loop.sock_recv(self._sock, _READ_BYTES):
                return
            # Who was refused may have a lot to say; it costs us next to nothing at this pace.
            await asyncio.sleep(_LINGER_PAUSE_SECONDS)


def handshake_fault(error: OSError) -> tuple[str, str]:
    """Return the counter (push.entry.PushCounters) and the words for a handshake that failed."""
    reason = getattr(error, "reason", None) or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        told = error.verify_message or "it can't be verified"
        if error.verify_code in _OUT_OF_DATE:
            why = "its certificate, or the CA's, is out of date, or this host's clock is wrong"
            return "certificate_expired", f"{why}: {told}"
        return "unknown_ca", f"its certificate does not hold against ca_file: {told}"
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "no_certificate", "it showed no certificate"
    if isinstance(error, NotTls):
        return "plain_text", "it does not speak TLS"
    if isinstance(error, (ssl.SSLEOFError, ConnectionResetError)):
        return "bad_handshake", "it went away in its handshake"
    words = reason.replace("_", " ").lower() or error.strerror or str(error)
    if " alert " in f" {words} ":
        # OpenSSL's name of an alert that came: it is the other end that refuses us.
        return "bad_handshake", f"it refuses this host's certificate, or TLS with it: {words}"
    return "bad_handshake", f"the handshake failed: {words}"
