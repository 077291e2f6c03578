"""Audit the stream of the local services or of STREAM_BOOTSTRAP_SERVERS: `moovitamix stream audit`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from core.errors import SettingsError
from core.exit_codes import run_main
from flows import audit_stream
from services.local_services import load_local_services

_NAME = "STREAM_BOOTSTRAP_SERVERS"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow as a service of `make up` would: with the address of the local broker. Returns the exit code."""
    before = os.environ.get(_NAME)
    with suppress(SettingsError):  # the flow reports it
        os.environ[_NAME] = load_local_services().bootstrap_servers
    try:
        return audit_stream.main(arguments)
    finally:
        os.environ.pop(_NAME, None)
        if before is not None:
            os.environ[_NAME] = before


if __name__ == "__main__":
    sys.exit(run_main(main))
