# SPDX-License-Identifier: Apache-2.0
"""Certificate files: what is in them, and errors that name the one that can't be used."""

from __future__ import annotations

import dataclasses
import datetime
import ssl
from pathlib import Path

import pytest

from ha_agent.certificates import (
    TlsFiles,
    certificate_that_counts,
    load_files,
    not_after_unix_seconds,
    not_before_unix_seconds,
    subject_of,
)
from ha_agent.errors import EnvironmentFault
from tests.push_certs import Pki


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    pki = Pki(tmp_path)
    pair = pki.pair("h1", ends_in=datetime.timedelta(days=3))
    return TlsFiles(pair.key, pair.cert, pki.ca)


def context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def test_a_pair_and_its_ca_are_taken(files: TlsFiles) -> None:
    taken = context()
    load_files(taken, files)
    assert taken.cert_store_stats()["x509_ca"] == 1
    own = certificate_that_counts(files.cert_file, is_ca=False)
    assert not_before_unix_seconds(own) < not_after_unix_seconds(own)
    assert subject_of(own)


@pytest.mark.parametrize("name", ["key_file", "cert_file", "ca_file"])
def test_the_file_that_is_not_there_is_named(files: TlsFiles, name: str) -> None:
    missing = getattr(files, name)
    missing.unlink()
    with pytest.raises(EnvironmentFault, match=f"^{missing}: No such file or directory$"):
        load_files(context(), files)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("key_file", "are no pair that can be used"),
        ("cert_file", "are no pair that can be used"),
        ("ca_file", "is no CA's file"),
    ],
)
def test_the_file_that_cant_be_used_is_named(files: TlsFiles, name: str, what: str) -> None:
    bad = getattr(files, name)
    bad.write_text("nothing of the kind")
    with pytest.raises(EnvironmentFault, match=what) as caught:
        load_files(context(), files)
    assert str(bad) in str(caught.value)


def test_a_key_of_another_certificate(files: TlsFiles, tmp_path: Path) -> None:
    other = Pki(tmp_path / "other").pair("h1")
    with pytest.raises(EnvironmentFault, match="no pair that can be used: key values mismatch"):
        load_files(context(), dataclasses.replace(files, key_file=other.key))
