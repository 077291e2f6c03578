"""`python -m mock_server`: starts the mock API."""

from __future__ import annotations

import asyncio
import datetime as dt
import sys

from mock_server.command_line import read_options
from mock_server.server import serve
from mock_server.timeline import DayOutOfRange


def main() -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code."""
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
