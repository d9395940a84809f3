# SPDX-License-Identifier: Apache-2.0
"""One login to the engine through oVirt's Python SDK, which nothing else here imports.

Every call runs in a thread with a deadline: the SDK's own timeout does not cover its login
(`_get_sso_response` sets none), and libcurl can't be interrupted. A call that fails in a way that
may pass drops the connection; the next one logs in anew.

The SDK tells few things apart: a broken connection, an HTML page of the web server in front of
the engine and a wrong URL are all `Error` with a text. So the last HTTP status is noted where the
answers come in, and libcurl's number is read from the text.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, TypeVar

from ha_agent.engine.budget import Budget
from ha_agent.engine.faults import (
    EngineBusy,
    EngineFault,
    EngineNotFound,
    EngineRefused,
    LoginRefused,
)
from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.vdsm.deadline import StorageThreads

T = TypeVar("T")

NOT_INSTALLED = (
    "oVirt's Python SDK is not installed: on Enterprise Linux install python3-ovirt-engine-sdk4, "
    "elsewhere `pip install 'ha-agent[engine]'` (it needs a C compiler and libxml2's headers)"
)
# Importing, attaching and registering work while the caller waits, with VDSM behind them.
CALL_SECONDS = 300.0
LOGOUT_SECONDS = 10.0
# libcurl: resolve 6, connect 7, partial 18, timeout 28, TLS connect 35, empty answer 52, send 55,
# receive 56, HTTP/2 framing 16 and 92.
_PASSING = (6, 7, 16, 18, 28, 35, 52, 55, 56, 92)
_UNTRUSTED = (51, 60, 77)
_CURL = re.compile(r"\((?:<[^>]*>, )?(\d{1,3}), (?P<quote>['\"])(.*?)(?P=quote)")
_STARTING = (404, 502, 503, 504)
# What the engine says of an object that it works on; BZ titles and its own message catalogue
# have "Related operation is currently in progress" and "... is being updated".
_IN_PROGRESS = re.compile(r"in progress|try again|is being |are being |is locked", re.IGNORECASE)


@dataclass(frozen=True)
class Login:
    """Where the engine is and who asks. `ca_file` None: its certificate is not looked at."""

    url: str
    user: str
    password: str = field(repr=False)
    ca_file: Optional[str]


def load() -> Any:
    """Return the SDK. Raises EnvironmentFault, which says what to install."""
    try:
        import ovirtsdk4
    except ImportError as error:
        if getattr(error, "name", None) in ("ovirtsdk4", "pycurl"):
            raise EnvironmentFault(NOT_INSTALLED) from None
        raise EnvironmentFault(f"oVirt's Python SDK can't be used: {error}") from None
    return ovirtsdk4


class EngineLink:
    """A login that is made when it is first needed, and made anew after a fault that passes."""

    def __init__(self, login: Login, budget: Budget) -> None:
        self._login = login
        self._budget = budget
        self._sdk = load()
        self._threads = StorageThreads(max_threads=2)
        self._connection: Optional[Any] = None
        self._last_code = 0

    @property
    def types(self) -> Any:
        """The SDK's types, to make what is sent."""
        return self._sdk.types

    async def call(self, what: str, use: Callable[[Any], T]) -> T:
        """Return `use(system_service)`; it calls the SDK and does nothing else.

        Raises EngineFault and its kinds, DeadlineExceeded.
        """
        seconds = min(CALL_SECONDS, self._budget.remaining_seconds(what))
        try:
            return await self._threads.run(what, seconds, lambda: self._use(use))
        except (EnvironmentFault, asyncio.CancelledError):
            # The thread that was left behind has the connection, and would not let go at logout.
            self._connection = None
            raise
        except Exception as error:  # the SDK's XML reader raises plain Exception
            fault = fault_of(self._sdk, what, error, self._last_code)
            if isinstance(fault, EngineBusy):
                self._connection = None
            raise fault from error

    def _use(self, use: Callable[[Any], T]) -> T:
        self._last_code = 0
        if self._connection is None:
            self._connection = self._connect()
        return use(self._connection.system_service())

    def _connect(self) -> Any:
        login = self._login
        connection = self._sdk.Connection(
            url=login.url,
            username=login.user,
            password=login.password,
            ca_file=login.ca_file,
            insecure=login.ca_file is None,
            timeout=int(CALL_SECONDS),
        )
        wait = connection.wait

        def noting_wait(context: Any, failed_auth: bool = False) -> Any:
            response = wait(context, failed_auth)
            self._last_code = response.code
            return response

        connection.wait = noting_wait
        return connection

    async def close(self) -> None:
        """Log out, if that is possible: the token would expire by itself, too."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await self._threads.run("the logout", LOGOUT_SECONDS, connection.close)
        except DeadlineExceeded:
            return
        except Exception:  # as above; there is nothing left to be done
            return


def fault_of(sdk: Any, what: str, error: Exception, last_code: int) -> EngineFault:
    """Return what an error of the SDK means. `last_code` is the last HTTP status, 0 for none."""
    fault = getattr(error, "fault", None)
    code = getattr(error, "code", None) or last_code
    text = " ".join(str(error).split())
    if fault is not None:
        return _refusal(what, code, fault.reason or "", fault.detail or "")
    if isinstance(error, sdk.AuthError):
        return LoginRefused(f"{what}: the engine refuses the login: {text}")
    curl = _CURL.search(text)
    if curl is not None:
        number, words = int(curl[1]), curl[3]
        if number in _UNTRUSTED:
            return EngineFault(f"{what}: the engine's certificate is not trusted: {words}")
        kind = EngineBusy if number in _PASSING else EngineFault
        return kind(f"{what}: {words}")
    if "content type" in text or isinstance(error, TypeError):
        # A page of the web server, not an answer of the API; without a type it is a TypeError.
        if code in _STARTING:
            return EngineBusy(f"{what}: HTTP {code}, the engine is starting or restarting")
        if code < 400:
            return EngineBusy(f"{what}: a page came instead of an answer of the API")
        return EngineFault(f"{what}: HTTP {code} with a page instead of an answer of the API")
    if not isinstance(error, sdk.Error):
        return EngineBusy(f"{what}: the answer is cut off or no XML: {text}")
    if code in _STARTING and code != 404:
        return EngineBusy(f"{what}: HTTP {code}, the engine is starting or restarting")
    return EngineFault(f"{what}: {text}")


def _refusal(what: str, code: int, reason: str, detail: str) -> EngineFault:
    if code == 404:
        return EngineNotFound(what, code, reason, detail)
    refused = EngineRefused(what, code, reason, detail)
    if code in (502, 503, 504) or (code == 409 and _IN_PROGRESS.search(f"{reason} {detail}")):
        return EngineBusy(str(refused))
    if code in (401, 403):
        return LoginRefused(str(refused))
    return refused
