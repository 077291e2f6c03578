"""The health check of a container: exit code 0 if the URL answers with success, otherwise 1.

It uses no proxy, because the URL is that of a service on the same network.
"""

from __future__ import annotations

import argparse
import sys

from core.http_probe import probe_failure

_TIMEOUT = 8.0


def main() -> int:
    """Request the URL once."""
    parser = argparse.ArgumentParser(prog="python -m services.healthcheck", description=__doc__)
    parser.add_argument("url")
    failure = probe_failure(parser.parse_args().url, _TIMEOUT)
    if failure is None:
        return 0
    print(failure, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
