"""Starts the stand-in: python -m mock_server --help."""

from __future__ import annotations

import asyncio
import datetime as dt
import sys

from mock_server.command_line import read_options
from mock_server.server import serve
from mock_server.timeline import DayOutOfRange


def main() -> int:
    """Serves until asked to end; the exit status."""
    options = read_options(None, today=dt.datetime.now(dt.UTC).date())
    try:
        asyncio.run(serve(options))
    except DayOutOfRange as error:
        print(f"mock_server: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"mock_server: cannot listen on {options.host_in_url}:{options.port}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
