# SPDX-License-Identifier: Apache-2.0
"""Certificates: what stands in a PEM file or came from a peer, and the listener's TLS settings.

Local files only, small ones. The engine renews the certificates of its hosts in place, and on
hosts that it forgot they expire: the predecessor then lost its VDSM, and high availability with
it, without a word before (facts/predecessor-and-peers.md, 1.11).
"""

from __future__ import annotations

import datetime
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ha_agent.broker.push_entry import CertificateEntry, warning_days
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import WallTime

if TYPE_CHECKING:
    from cryptography import x509

# The library is imported where it is used: it takes 8 MB, which a broker without certificates
# (an embedded VDSM, no push) need not have.

_MAX_FILE_BYTES = 1 << 20
_MAX_SUBJECT = 200
_UNREADABLE = "a certificate that can't be read"
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class TlsFiles:
    """The three files of a listener."""

    key_file: Path
    cert_file: Path
    ca_file: Path


@dataclass(frozen=True)
class PeerIdentity:
    """Whom a certificate names: its subject as text, and in lower case its DNS names and common
    names."""

    subject: str
    names: frozenset[str]


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
        raise BadInput(f"{_UNREADABLE}: {error}", where=str(path)) from error


def file_entry(role: str, path: Path, wall: WallTime, *, is_ca: bool) -> CertificateEntry:
    """Return what is to be known of a file: its own certificate, or of a CA's file the one that
    ends last, as OpenSSL takes any that fits. What can't be read is told in `problem`."""
    try:
        found = certificates_in(path)
        chosen = max(found, key=_not_after) if is_ca else found[0]
        return _entry(role, str(path), chosen, wall)
    except EnvironmentFault as fault:
        return CertificateEntry(role, str(path), problem=str(fault))
    except BadInput as fault:
        return CertificateEntry(role, str(path), problem=fault.what)
    except ValueError as error:
        # Some parts of a certificate are looked at only when they are asked for.
        return CertificateEntry(role, str(path), problem=f"{_UNREADABLE}: {error}")


def peer_entry(der: bytes, wall: WallTime) -> CertificateEntry:
    """Return what is to be known of the certificate that the engine showed."""
    from cryptography import x509

    try:
        return _entry("engine", "", x509.load_der_x509_certificate(der), wall)
    except ValueError as error:
        return CertificateEntry("engine", problem=f"{_UNREADABLE}: {error}")


def identity_in(der: bytes) -> PeerIdentity:
    """Return whom a certificate that OpenSSL has verified names. Raises BadInput."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        certificate = x509.load_der_x509_certificate(der)
        names = {
            str(attribute.value).lower()
            for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        }
        names.update(name.lower() for name in _dns_names(certificate))
        return PeerIdentity(_subject(certificate), frozenset(names))
    except (
        *(ValueError, x509.InvalidVersion),
        *(x509.DuplicateExtension, x509.UnsupportedGeneralNameType),
    ) as error:
        raise BadInput(f"the peer's certificate can't be read: {error}") from error


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the listener's settings: TLS 1.2 and later, a certificate of the CA demanded.

    Raises EnvironmentFault that names the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    # Each connection shows its certificate: one that was let in with the old settings must not
    # come back by a ticket.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    pair = f"{files.cert_file} and {files.key_file}"
    try:
        # Without a password of ours OpenSSL would ask for one at the terminal.
        context.load_cert_chain(files.cert_file, files.key_file, password=b"")
    except ssl.SSLError as error:
        raise EnvironmentFault(f"{pair} are no pair that can be used: {_words(error)}") from error
    except OSError as error:
        raise EnvironmentFault(f"{pair}: {error.strerror or error}") from error
    except ValueError as error:
        raise EnvironmentFault(f"{files.key_file} has a password: {error}") from error
    try:
        context.load_verify_locations(files.ca_file)
    except ssl.SSLError as error:
        raise EnvironmentFault(f"{files.ca_file} is no CA's file: {_words(error)}") from error
    except OSError as error:
        raise EnvironmentFault(f"{files.ca_file}: {error.strerror or error}") from error
    return context


def _entry(
    role: str, path: str, certificate: x509.Certificate, wall: WallTime
) -> CertificateEntry:
    ends = _not_after(certificate)
    return CertificateEntry(
        role=role,
        path=path,
        subject=_subject(certificate),
        not_before_unix_seconds=_moment(certificate, "not_valid_before"),
        not_after_unix_seconds=ends,
        warning_days=warning_days(ends - wall.unix_seconds),
    )


def _not_after(certificate: x509.Certificate) -> float:
    return _moment(certificate, "not_valid_after")


def _moment(certificate: x509.Certificate, name: str) -> float:
    # The aware form came with cryptography 42, which calls the other one deprecated.
    aware: Any = getattr(certificate, f"{name}_utc", None)
    moment: datetime.datetime = aware or getattr(certificate, name)
    return moment.replace(tzinfo=datetime.timezone.utc).timestamp()


def _subject(certificate: x509.Certificate) -> str:
    text = certificate.subject.rfc4514_string()[:_MAX_SUBJECT]
    return "".join(c if c.isprintable() else "?" for c in text)


def _dns_names(certificate: x509.Certificate) -> list[str]:
    from cryptography import x509
    from cryptography.x509.oid import ExtensionOID

    try:
        extension = certificate.extensions.get_extension_for_oid(
            ExtensionOID.SUBJECT_ALTERNATIVE_NAME
        )
    except x509.ExtensionNotFound:
        return []
    assert isinstance(extension.value, x509.SubjectAlternativeName)
    return extension.value.get_values_for_type(x509.DNSName)


def _words(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
