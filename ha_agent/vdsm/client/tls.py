# SPDX-License-Identifier: Apache-2.0
"""TLS to VDSM as its own client does it, and in words what went wrong with it, or for want of it.

VDSM's client (vdsm's lib/vdsm/sslutils.py, facts 1.1) shows the host's own server pair, demands
that VDSM's certificate comes from the one CA, and checks no host name: a host's certificate bears
whatever name the host was added by. `verify_client_cert` of vdsm.conf is the server's matter: it
compares our certificate's name with the address that we come from, and 127.0.0.1 and ::1 pass.

The files are read for each connection, so renewed ones are taken. Nobody's expiry is judged
here: OpenSSL and VDSM do that, and only when one of them refused are the files looked into for
a reason. Under TLS 1.3 VDSM's refusal of our certificate comes after the handshake.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Callable, Optional

from ha_agent.certificates import (
    TlsFiles,
    certificate_that_counts,
    load_files,
    not_after_unix_seconds,
    words,
)
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import WallTime

# X509_V_ERR_CERT_HAS_EXPIRED of openssl/x509_vfy.h.
_EXPIRED = 10
# A TLS record's first bytes: an alert or a handshake, of any version (RFC 8446, 5.1).
_TLS_RECORDS = (b"\x15\x03", b"\x16\x03")


class ClientTls:
    """Our end of TLS to VDSM. `wall` reads the calendar."""

    def __init__(self, files: TlsFiles, wall: Callable[[], WallTime]) -> None:
        self._files = files
        self._wall = wall

    def context(self) -> ssl.SSLContext:
        """Read the files. Raises EnvironmentFault, which names the one that can't be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        load_files(context, self._files)
        return context

    def handshake_fault(self, error: OSError) -> str:
        """Return why the handshake failed, for operators."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return self._not_accepted(error)
        if isinstance(error, ssl.SSLError):
            if "ALERT" in (error.reason or ""):
                return self._refused(error)
            return f"no TLS with it, {words(error)}: does it have TLS turned off?"
        if isinstance(error, ConnectionError):
            return "it closed the connection in the TLS handshake: does it have TLS turned off?"
        return error.strerror or str(error)

    def lost(self, error: Optional[Exception], greeted: bool) -> str:
        """Return why a connection ended whose handshake went well."""
        if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
            return self._refused(error)
        if greeted:
            return plain_lost(error, greeted)
        ended = self._ended(self._files.cert_file)
        doubt = f": does it refuse {self._files.cert_file}?{ended and ' It ' + ended}"
        return f"closed by VDSM before its greeting{doubt}"

    def _refused(self, error: ssl.SSLError) -> str:
        path = self._files.cert_file
        ended = self._ended(path)
        return f"it refuses {path}, our certificate: {words(error)}{ended and '; it ' + ended}"

    def _not_accepted(self, error: ssl.SSLCertVerificationError) -> str:
        said = (
            f"its certificate is not accepted with {self._files.ca_file}: {error.verify_message}"
        )
        if error.verify_code != _EXPIRED:
            return said
        # OpenSSL does not say which one of the chain. VDSM on this host shows the host's own.
        for path in (self._files.ca_file, self._files.cert_file):
            ended = self._ended(path)
            if ended:
                return f"{said}; {path} {ended}"
        return said

    def _ended(self, path: Path) -> str:
        """Return since when a file's certificate is of no use any more, "" if it still is."""
        try:
            certificate = certificate_that_counts(path, is_ca=path == self._files.ca_file)
            end = WallTime(not_after_unix_seconds(certificate))
        except (EnvironmentFault, BadInput, ValueError):
            return ""  # it was good enough for OpenSSL, which has said what it has to say
        return f"ended at {end.iso()}" if end.unix_seconds < self._wall().unix_seconds else ""


def plain_lost(error: Optional[Exception], greeted: bool) -> str:
    """Return why a connection in clear ended."""
    if error is not None:
        return str(error) or repr(error)
    if greeted:
        return "closed by VDSM"
    return "closed by VDSM before its greeting: does it want TLS, [vdsm] ssl = true?"


def is_tls(first_bytes: bytes) -> bool:
    """Tell whether what came on a connection in clear is TLS."""
    return first_bytes.startswith(_TLS_RECORDS)
