# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests of the push: an engine's CA, and what it and others have signed."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import trustme

ENGINE = "engine.example.com"


@dataclass(frozen=True)
class Pair:
    """A certificate's file and its key's."""

    cert: Path
    key: Path


class Pki:
    """A CA in a folder: `ca` is its file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))

    def pair(
        self,
        *names: str,
        file: str = "",
        ends_in: Optional[datetime.timedelta] = None,
        common_name: Optional[str] = None,
    ) -> Pair:
        """Issue a certificate for DNS names, or for a common name alone."""
        more: dict[str, Any] = {}
        if ends_in is not None:
            more["not_after"] = datetime.datetime.now(datetime.timezone.utc) + ends_in
        made = self.authority.issue_cert(*names, common_name=common_name, **more)
        stem = file or (names[0] if names else "named")
        pair = Pair(self._folder / f"{stem}.pem", self._folder / f"{stem}.key")
        made.private_key_pem.write_to_path(str(pair.key))
        pair.cert.write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
        return pair
