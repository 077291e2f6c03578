"""Audit the stream of the local services or of STREAM_BOOTSTRAP_SERVERS: `moovitamix stream audit`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress

from core.errors import SettingsError
from core.exit_codes import run_main
from flows import audit_stream
from services.local_services import load_local_services


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow as a service of `make up` would: with the address of the local broker. Returns the exit code."""
    bootstrap_servers = ""
    with suppress(SettingsError):  # the flow reports it
        bootstrap_servers = load_local_services().bootstrap_servers
    return audit_stream.main(arguments, bootstrap_servers=bootstrap_servers)


if __name__ == "__main__":
    sys.exit(run_main(main))
