# SPDX-License-Identifier: Apache-2.0
"""Why a connection failed, in words for an operator. It must not do any I/O."""

from __future__ import annotations

import os
import socket
import ssl


def describe(error: Exception) -> str:
    """Return a sentence without varying figures for what a socket or TLS raised."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        # Only errors that OpenSSL itself raised have a reason, such as WRONG_VERSION_NUMBER.
        reason = getattr(error, "reason", None) or str(error)
        return f"TLS failed: {reason.replace('_', ' ').lower()}"
    if isinstance(error, socket.gaierror):
        return f"its name can't be resolved: {error.strerror}"
    if isinstance(error, UnicodeError):
        return f"its name is not a host name: {error}"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, ConnectionResetError):
        return "the connection was reset"
    if isinstance(error, OSError) and error.errno:
        # asyncio's own strerror says only that the call failed.
        return f"the connection failed: {os.strerror(error.errno).lower()}"
    return f"the connection failed: {str(error) or type(error).__name__}"
