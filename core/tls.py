"""Files that the environment names for TLS. A wrong one breaks every client of Prefect, for plain HTTP too."""

from __future__ import annotations

import os
import ssl

from core.errors import SettingsError


def check_tls_files() -> None:
    """Raises SettingsError naming the variable of the environment whose file cannot be used."""
    certificates = os.environ.get("SSL_CERT_FILE")
    if not certificates and not os.environ.get("SSLKEYLOGFILE"):
        return
    try:
        ssl.create_default_context()  # opens SSLKEYLOGFILE
    except OSError as error:
        raise _wrong("SSLKEYLOGFILE", "written", error) from None
    try:
        ssl.create_default_context(cafile=certificates or None)
    except OSError as error:  # an SSLError is one
        raise _wrong("SSL_CERT_FILE", "read as certificates", error) from None


def _wrong(name: str, use: str, error: OSError) -> SettingsError:
    reason = "no certificate is in it" if isinstance(error, ssl.SSLError) else error.strerror
    return SettingsError(
        f"wrong setting: {name} {os.environ[name]} cannot be {use}: {reason} (correct or unset it in the environment)"
    )
