# SPDX-License-Identifier: Apache-2.0
"""Certificates: what is told of those in files and of those that peers show, and the listener's
TLS settings.

On hosts that the engine forgot they expire: the predecessor then lost its VDSM, and high
availability with it, without a word before (facts/predecessor-and-peers.md, 1.11).
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ha_agent.broker.push.entry import CertificateEntry, warning_days
from ha_agent.certificates import (
    UNREADABLE,
    TlsFiles,
    certificate_that_counts,
    load_files,
    not_after_unix_seconds,
    not_before_unix_seconds,
    subject_of,
)
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import WallTime

if TYPE_CHECKING:
    from cryptography import x509


@dataclass(frozen=True)
class PeerIdentity:
    """Whom a certificate names: its subject as text, and in lower case its DNS names and common
    names."""

    subject: str
    names: frozenset[str]


def file_entry(role: str, path: Path, wall: WallTime, *, is_ca: bool) -> CertificateEntry:
    """Return what is to be known of a file: its own certificate, or of a CA's file the one that
    ends last, as OpenSSL takes any that fits. What can't be read is told in `problem`."""
    try:
        return _entry(role, str(path), certificate_that_counts(path, is_ca=is_ca), wall)
    except EnvironmentFault as fault:
        return CertificateEntry(role, str(path), problem=str(fault))
    except BadInput as fault:
        return CertificateEntry(role, str(path), problem=fault.what)
    except ValueError as error:
        # Some parts of a certificate are looked at only when they are asked for.
        return CertificateEntry(role, str(path), problem=f"{UNREADABLE}: {error}")


def peer_entry(role: str, der: bytes, wall: WallTime) -> CertificateEntry:
    """Return what is to be known of the certificate that a peer showed."""
    from cryptography import x509

    try:
        return _entry(role, "", x509.load_der_x509_certificate(der), wall)
    except ValueError as error:
        return CertificateEntry(role, problem=f"{UNREADABLE}: {error}")


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
        return PeerIdentity(subject_of(certificate), frozenset(names))
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
    load_files(context, files)
    return context


def _entry(
    role: str, path: str, certificate: x509.Certificate, wall: WallTime
) -> CertificateEntry:
    ends = not_after_unix_seconds(certificate)
    return CertificateEntry(
        role=role,
        path=path,
        subject=subject_of(certificate),
        not_before_unix_seconds=not_before_unix_seconds(certificate),
        not_after_unix_seconds=ends,
        warning_days=warning_days(ends - wall.unix_seconds),
    )


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
