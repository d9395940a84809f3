# SPDX-License-Identifier: Apache-2.0
"""Whether an engine answers at a URL, before anybody's password is sent there.

The SDK can't tell a wrong CA from a wrong host name, nor an engine that is starting from a web
server that is none. So the engine's health page is asked for first (it needs no login, as in
broker/probes/engine_health.py), with the same CA:

    GET /ovirt-engine/services/health  ->  200, "DB Up!Welcome to Health Status!"
"""

from __future__ import annotations

import http.client
import ssl
from typing import Optional
from urllib.parse import urlsplit

from ha_agent.engine.budget import Budget
from ha_agent.engine.faults import EngineBusy, EngineFault
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.vdsm.deadline import StorageThreads

API_PATH = "/ovirt-engine/api"
HEALTH_PATH = "/ovirt-engine/services/health"
LOOK_SECONDS = 20.0
_HEALTHY = b"DB Up"
_MAX_BYTES = 64 * 1024
_STARTING = (500, 502, 503, 504)
# Of OpenSSL (x509_vfy.h): the certificate's time and name; other numbers are about the chain.
_EXPIRED, _WRONG_NAME, _WRONG_ADDRESS = 10, 62, 64


def api_url(text: str) -> str:
    """Return the API's whole URL of what an operator gave. Raises BadInput.

    Only https: a password goes there. "https://engine" and ".../ovirt-engine" are completed.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise BadInput(str(error), where="--url") from None
    if parts.scheme != "https" or not parts.hostname or parts.username is not None:
        raise BadInput(f"{text!r} is not https://ENGINE{API_PATH}", where="--url")
    if not text.isascii() or any(character <= " " for character in text):
        raise BadInput(f"{text!r} has blanks or other odd characters", where="--url")
    path = parts.path.rstrip("/")
    if parts.query or parts.fragment or path not in ("", "/ovirt-engine", API_PATH):
        raise BadInput(f"{text!r} does not end in {API_PATH}", where="--url")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"https://{host}{f':{port}' if port else ''}{API_PATH}"


def trust_of(ca_file: Optional[str]) -> ssl.SSLContext:
    """Return the TLS context that trusts that CA. Raises BadInput."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        context.load_verify_locations(ca_file)
    except (OSError, ValueError) as error:
        # ssl.SSLError is an OSError; "no certificate or crl found" is what is mostly wrong.
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise BadInput(f"can't be used: {said}", where=f"--ca-file {ca_file}") from None
    return context


async def look(url: str, trust: ssl.SSLContext, budget: Budget) -> None:
    """Return when a healthy engine answers at `url`, as `api_url` makes it.

    Raises EngineBusy when it may be well in a moment, and EngineFault otherwise.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    what = f"the engine at {host}"
    seconds = min(LOOK_SECONDS, budget.remaining_seconds(what))
    threads = StorageThreads(max_threads=1)

    def ask() -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection(
            host, parts.port or 443, timeout=seconds, context=trust
        )
        try:
            connection.request("GET", HEALTH_PATH, headers={"User-Agent": "ha-agent"})
            answer = connection.getresponse()
            return answer.status, answer.read(_MAX_BYTES)
        finally:
            connection.close()

    try:
        status, body = await threads.run(what, seconds, ask)
    except ssl.SSLCertVerificationError as error:
        raise EngineFault(f"{what}: {_distrust(error, host)}") from None
    except ssl.SSLError as error:
        raise EngineFault(f"{what} does not speak TLS as is wanted: {error}") from None
    except http.client.HTTPException as error:
        raise EngineBusy(f"{what}: the answer is not sound HTTP: {error}") from None
    except EnvironmentFault as fault:
        raise EngineBusy(str(fault)) from None
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise EngineBusy(f"{what} can't be reached: {why}") from None
    if status in _STARTING:
        raise EngineBusy(f"{what} answers HTTP {status}: it is starting")
    if status != 200 or _HEALTHY not in body:
        raise EngineFault(
            f"{what} is no oVirt engine, or it is not set up: {HEALTH_PATH} answers HTTP {status}"
        )


def _distrust(error: ssl.SSLCertVerificationError, host: str) -> str:
    if error.verify_code in (_WRONG_NAME, _WRONG_ADDRESS):
        return f"its certificate is not for the name {host}; use the name that is in it"
    if error.verify_code == _EXPIRED:
        return "its certificate has expired"
    return f"--ca-file does not vouch for its certificate: {error.verify_message}"
