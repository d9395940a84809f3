# SPDX-License-Identifier: Apache-2.0
"""Certificate files: what stands in them until when, and how OpenSSL takes them.

Local files only, small ones, read anew each time: the engine renews the certificates of its
hosts in place. For both ends of TLS: the client of VDSM, and the listener of the push. Whether a
certificate is to be trusted is OpenSSL's matter alone; nothing is decided here.
"""

from __future__ import annotations

import datetime
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ha_agent.errors import BadInput, EnvironmentFault

if TYPE_CHECKING:
    from cryptography import x509

# The library is imported where it is used: it takes 8 MB, which a process without certificates
# (an embedded VDSM, no push) need not have.

UNREADABLE = "a certificate that can't be read"

_MAX_FILE_BYTES = 1 << 20
_MAX_SUBJECT = 200
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class TlsFiles:
    """The three files of one end of TLS, in PEM."""

    key_file: Path
    cert_file: Path
    ca_file: Path


def certificates_in(path: Path) -> list[x509.Certificate]:
    """Return the certificates of a PEM file, at least one. Raises EnvironmentFault, BadInput."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise EnvironmentFault(error.strerror or str(error)) from error
    from cryptography import x509

    found = _PEM.findall(text)
    if not found or len(text) > _MAX_FILE_BYTES:
        raise BadInput("no certificate in PEM form", where=str(path))
    try:
        # One by one: the function for all of them came with cryptography 39, and Enterprise
        # Linux 9 has 36.
        return [x509.load_pem_x509_certificate(pem) for pem in found]
    except (ValueError, x509.InvalidVersion) as error:
        raise BadInput(f"{UNREADABLE}: {error}", where=str(path)) from error


def certificate_that_counts(path: Path, *, is_ca: bool) -> x509.Certificate:
    """Return a file's own certificate, or of a CA's file the one that ends last, as OpenSSL
    takes any that fits. Raises EnvironmentFault, BadInput."""
    found = certificates_in(path)
    return max(found, key=not_after_unix_seconds) if is_ca else found[0]


def not_before_unix_seconds(certificate: x509.Certificate) -> float:
    """Return since when a certificate is good."""
    return _moment(certificate, "not_valid_before")


def not_after_unix_seconds(certificate: x509.Certificate) -> float:
    """Return until when a certificate is good."""
    return _moment(certificate, "not_valid_after")


def subject_of(certificate: x509.Certificate) -> str:
    """Return whom a certificate names, printable and of bounded length."""
    text = certificate.subject.rfc4514_string()[:_MAX_SUBJECT]
    return "".join(c if c.isprintable() else "?" for c in text)


def _moment(certificate: x509.Certificate, name: str) -> float:
    # The aware form came with cryptography 42, which calls the other one deprecated.
    aware: Any = getattr(certificate, f"{name}_utc", None)
    moment: datetime.datetime = aware or getattr(certificate, name)
    return moment.replace(tzinfo=datetime.timezone.utc).timestamp()


def load_files(context: ssl.SSLContext, files: TlsFiles) -> None:
    """Give a context its pair and its CA. Raises EnvironmentFault that names the file."""
    for path in (files.cert_file, files.key_file, files.ca_file):
        # OpenSSL does not say which of the files it is that can't be read.
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            raise EnvironmentFault(f"{path}: {error.strerror or error}") from error
    pair = f"{files.cert_file} and {files.key_file}"
    try:
        # Without a password of ours OpenSSL would ask for one at the terminal.
        context.load_cert_chain(files.cert_file, files.key_file, password=b"")
    except ssl.SSLError as error:
        raise EnvironmentFault(f"{pair} are no pair that can be used: {words(error)}") from error
    except OSError as error:
        raise EnvironmentFault(f"{pair}: {error.strerror or error}") from error
    except ValueError as error:
        raise EnvironmentFault(f"{files.key_file} has a password: {error}") from error
    try:
        context.load_verify_locations(files.ca_file)
    except ssl.SSLError as error:
        raise EnvironmentFault(f"{files.ca_file} is no CA's file: {words(error)}") from error
    except OSError as error:
        raise EnvironmentFault(f"{files.ca_file}: {error.strerror or error}") from error


def words(error: ssl.SSLError) -> str:
    """Return OpenSSL's reason in small letters."""
    return (error.reason or str(error)).replace("_", " ").lower()
