"""Checks the files that environment variables name for TLS. An unusable file breaks Prefect's client, even for HTTP."""

from __future__ import annotations

import os
import ssl
from functools import cache

from core.errors import SettingsError


def check_tls_files() -> None:
    """Raises SettingsError that names the environment variable of an unusable file."""
    _check(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSLKEYLOGFILE"))


@cache  # of success only: a check reads all certificates of the machine, and each load of the settings checks
def _check(certificates: str | None, key_log: str | None) -> None:
    if not certificates and not key_log:
        return
    try:
        ssl.create_default_context()  # opens SSLKEYLOGFILE
    except OSError as error:
        raise _unusable_file("SSLKEYLOGFILE", "written", error) from None
    try:
        ssl.create_default_context(cafile=certificates or None)
    except OSError as error:  # SSLError is a subclass
        raise _unusable_file("SSL_CERT_FILE", "read as certificates", error) from None


def _unusable_file(name: str, use: str, error: OSError) -> SettingsError:
    reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
    return SettingsError(
        f"wrong setting: {name} {os.environ[name]} cannot be {use}: {reason} (correct or unset it in the environment)"
    )
