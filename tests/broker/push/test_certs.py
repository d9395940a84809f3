# SPDX-License-Identifier: Apache-2.0
"""Certificates out of files and from peers, and the listener's settings out of three files."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path
from typing import Optional

import pytest
import trustme

from ha_agent.broker.push.certs import (
    file_entry,
    identity_in,
    peer_entry,
    server_context,
)
from ha_agent.certificates import TlsFiles, certificates_in
from ha_agent.clock import SystemClock
from ha_agent.errors import BadInput, EnvironmentFault
from tests.push_certs import ENGINE, Pair, Pki

WALL = SystemClock().wall()
WEEK = datetime.timedelta(days=6, hours=20)


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


def der_of(pair: Pair) -> bytes:
    first, end, _ = pair.cert.read_text().partition(ssl.PEM_FOOTER)
    return ssl.PEM_cert_to_DER_cert(first + end)


def test_a_file_tells_its_own_certificate_not_the_cas_behind_it(pki: Pki) -> None:
    pair = pki.pair(ENGINE, ends_in=WEEK)
    pair.cert.write_bytes(pair.cert.read_bytes() + pki.ca.read_bytes())
    assert len(certificates_in(pair.cert)) == 2
    entry = file_entry("push", pair.cert, WALL, is_ca=False)
    assert (entry.warning_days, entry.problem, entry.path) == (7, "", str(pair.cert))
    left_seconds = entry.not_after_unix_seconds - WALL.unix_seconds
    # WALL is of the module's import, which may be minutes ago.
    assert abs(left_seconds - WEEK.total_seconds()) < 3600
    assert (
        peer_entry("engine", der_of(pair), WALL).not_after_unix_seconds
        == entry.not_after_unix_seconds
    )


def test_of_a_cas_file_the_one_counts_that_ends_last(pki: Pki) -> None:
    soon = pki.pair("old.example.com", ends_in=WEEK)
    both = soon.cert.read_bytes() + pki.ca.read_bytes()
    soon.cert.write_bytes(both)
    ca = file_entry("push CA", pki.ca, WALL, is_ca=True)
    assert (
        file_entry("push CA", soon.cert, WALL, is_ca=True).not_after_unix_seconds
        == ca.not_after_unix_seconds
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file or directory"),
        (b"", "no certificate in PEM form"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "can't be read"),
        (b"-----BEGIN CERTIFICATE-----\n" * 9, "no certificate in PEM form"),
        (b"x" * ((1 << 20) + 1), "no certificate in PEM form"),
    ],
)
def test_what_cant_be_read_is_told(tmp_path: Path, content: Optional[bytes], problem: str) -> None:
    path = tmp_path / "cert.pem"
    if content is not None:
        path.write_bytes(content)
    entry = file_entry("vdsm", path, WALL, is_ca=False)
    assert problem in entry.problem
    assert entry.warning_days == -1


def test_a_peer_is_known_by_common_name_and_dns_names(pki: Pki) -> None:
    identity = identity_in(der_of(pki.pair("A.Example.com", "b.example.com", common_name="CN X")))
    assert identity.names == {"a.example.com", "b.example.com", "cn x"}
    assert "CN=CN X" in identity.subject
    with pytest.raises(BadInput):
        identity_in(b"no DER")


def test_the_settings_demand_a_certificate_of_the_ca(pki: Pki) -> None:
    own = pki.pair("localhost")
    context = server_context(TlsFiles(own.key, own.cert, pki.ca))
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert [ca["serialNumber"] for ca in context.get_ca_certs()]


@pytest.mark.parametrize("which", ["key", "cert", "ca"])
@pytest.mark.parametrize("content", [None, "nonsense"])
def test_a_file_that_cant_be_used_is_named(pki: Pki, which: str, content: Optional[str]) -> None:
    own = pki.pair("localhost")
    path = {"key": own.key, "cert": own.cert, "ca": pki.ca}[which]
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(EnvironmentFault, match=path.name):
        server_context(TlsFiles(own.key, own.cert, pki.ca))


def test_a_key_with_a_password_is_no_question_at_the_terminal(pki: Pki, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    own = pki.pair("localhost")
    key = serialization.load_pem_private_key(own.key.read_bytes(), None)
    own.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(EnvironmentFault):
        server_context(TlsFiles(own.key, own.cert, pki.ca))


def test_a_certificate_without_names_has_none() -> None:
    bare = trustme.CA()
    der = ssl.PEM_cert_to_DER_cert(bare.cert_pem.bytes().decode())
    assert identity_in(der).names == frozenset()


def test_a_certificate_that_only_looks_sound_is_told_of_and_ends_nothing(pki: Pki) -> None:
    # Libraries look into a name only when they are asked for it.
    der = der_of(pki.pair("localhost", common_name="odd name"))
    bad = der.replace(b"odd name", b"\xff" * 8)
    path = pki.ca.with_name("odd.pem")
    path.write_text(ssl.DER_cert_to_PEM_cert(bad))
    assert "can't be read" in file_entry("vdsm", path, WALL, is_ca=False).problem
    assert "can't be read" in file_entry("vdsm CA", path, WALL, is_ca=True).problem
    assert "can't be read" in peer_entry("engine", bad, WALL).problem
    with pytest.raises(BadInput, match="can't be read"):
        identity_in(bad)


def test_a_name_of_a_kind_that_nobody_reads_is_told_of(pki: Pki) -> None:
    der = der_of(pki.pair("localhost"))
    # [2] dNSName becomes [5] ediPartyName (RFC 5280, 4.2.1.6), which the library has no type for.
    bad = der.replace(b"\x82\x09localhost", b"\xa5\x09localhost")
    assert bad != der
    with pytest.raises(BadInput, match="can't be read"):
        identity_in(bad)
