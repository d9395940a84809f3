# SPDX-License-Identifier: Apache-2.0
"""Which VDSM the contract suite runs over, and what of it may be touched.

    embedded, plain and TLS    one of its own, with a domain, and a QEMU guest where there is QEMU
    HA_AGENT_TEST_VDSM         host:port of any other one, instead of those two
    HA_AGENT_TEST_VDSM_CERTS   folder with vdsmkey.pem, vdsmcert.pem and cacert.pem, in it or in
                               keys/ and certs/ as in /etc/pki/vdsm; "plain" for no TLS
    HA_AGENT_TEST_VDSM_DOMAIN  a storage domain that is monitored there; its images are looked at
    HA_AGENT_TEST_VDSM_CHANGES "yes" lets the suite change things: only then the next ones count
    HA_AGENT_TEST_VDSM_VM      file with the domain XML of a VM that may be started and destroyed
    HA_AGENT_RECORD_VDSM       folder: what is said is written down there (recorder.py)

The embedded one runs on a loop and a thread of its own, so that a client is never served by the
loop that it blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import ssl
import threading
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional, TypeVar

from ha_agent.certificates import TlsFiles
from ha_agent.vdsm.server.service import EmbeddedVdsm
from tests.push_certs import Pki
from tests.vdsm.embedded import DOMAIN, IMAGE, VM, VOLUME, Host, make_domain, make_xml

T = TypeVar("T")
VARIABLE = "HA_AGENT_TEST_VDSM"
_START_SECONDS = 60.0


@dataclass(frozen=True)
class Target:
    """One VDSM. Empty texts: there is nothing of that kind that may be looked at or touched.

    `tls` None is plain TCP. `is_ours` lets a test do what
    would break the service of a real one. `vm_xml` is the definition of `vm_id`, `storage_folder`
    a LOCALFS storage server. `wrong_tls` has a certificate of another CA. `restart` ends the
    VDSM and starts it again, at the same port.
    """

    host: str
    port: int
    tls: Optional[TlsFiles] = None
    is_ours: bool = False
    may_change: bool = False
    domain_id: str = ""
    image_id: str = ""
    volume_id: str = ""
    vm_id: str = ""
    vm_xml: str = ""
    storage_folder: str = ""
    wrong_tls: Optional[TlsFiles] = None
    restart: Optional[Callable[[], None]] = None


class EmbeddedThread:
    """An embedded VDSM in a thread; `call` runs a coroutine on its loop."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_START_SECONDS)

    def start(self) -> int:
        """Start it and return its port."""
        self._thread.start()
        self.call(self.start_vdsm())
        assert self.host.vdsm is not None
        return self.host.vdsm.port

    async def start_vdsm(self) -> None:
        self.host.vdsm = EmbeddedVdsm(self.host.settings)
        await self.host.vdsm.start()

    def restart(self) -> None:
        """End it, guests live on, and start it again at the same port."""
        assert self.host.vdsm is not None
        port = self.host.vdsm.port
        self.call(self.host.stop())
        self.host.settings = dataclasses.replace(self.host.settings, listen_port=port)
        self.call(self.start_vdsm())

    def end(self) -> None:
        """End it with all its guests, and the thread."""
        try:
            self.call(self.host.clean_up())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


def context_of(files: TlsFiles) -> ssl.SSLContext:
    """Return a client's context as VDSM's own client has it: both certificates, no names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(files.ca_file)
    context.load_cert_chain(files.cert_file, files.key_file)
    return context


def files_in(folder: Path) -> TlsFiles:
    """Return VDSM's three files in a folder, flat or as below /etc/pki/vdsm."""
    certs = folder / "certs" if (folder / "certs").is_dir() else folder
    keys = folder / "keys" if (folder / "keys").is_dir() else folder
    return TlsFiles(keys / "vdsmkey.pem", certs / "vdsmcert.pem", certs / "cacert.pem")


@contextlib.contextmanager
def embedded(folder: Path, kind: str) -> Iterator[Target]:
    """Run an embedded VDSM, `kind` tcp or tls, with a domain that belongs to no pool."""
    settings: dict[str, Any] = {"monitor_interval_seconds": 0.2}
    tls: Optional[TlsFiles] = None
    wrong_tls: Optional[TlsFiles] = None
    if kind == "tls":
        pki, stranger = Pki(folder / "pki"), Pki(folder / "stranger")
        # As the engine issues them: the host's one pair is for both ends.
        pair, other = pki.pair("host1.example.com"), stranger.pair("host1.example.com")
        tls = settings["tls"] = TlsFiles(pair.key, pair.cert, pki.ca)
        wrong_tls = TlsFiles(other.key, other.cert, pki.ca)
    thread = EmbeddedThread(Host(make_domain(folder), **settings))
    try:
        yield Target(
            "127.0.0.1",
            thread.start(),
            tls=tls,
            is_ours=True,
            may_change=True,
            domain_id=DOMAIN,
            image_id=IMAGE,
            volume_id=VOLUME,
            vm_id=VM,
            vm_xml=make_xml(),
            storage_folder=str(folder),
            wrong_tls=wrong_tls,
            restart=thread.restart,
        )
    finally:
        thread.end()


def from_environment(environment: Mapping[str, str]) -> Target:
    """Return the VDSM that the variables name. Raises ValueError when they make no sense."""
    host, _, port = environment[VARIABLE].rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"{VARIABLE}={environment[VARIABLE]!r} is not host:port")
    certs = environment.get(f"{VARIABLE}_CERTS", "/etc/pki/vdsm")
    tls = None if certs == "plain" else files_in(Path(certs))
    may_change = environment.get(f"{VARIABLE}_CHANGES", "") == "yes"
    vm_file = environment.get(f"{VARIABLE}_VM", "")
    vm_xml = Path(vm_file).read_text(encoding="utf-8") if vm_file and may_change else ""
    found = re.search(r"<uuid>\s*([0-9a-f-]{36})\s*</uuid>", vm_xml)
    if vm_xml and found is None:
        raise ValueError(f"{VARIABLE}_VM={vm_file}: no <uuid> in it")
    return Target(
        host.strip("[]"),
        int(port),
        tls=tls,
        may_change=may_change,
        domain_id=environment.get(f"{VARIABLE}_DOMAIN", ""),
        vm_id=found[1] if found else "",
        vm_xml=vm_xml,
    )
