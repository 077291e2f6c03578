"""`python -m services.healthcheck URL`: exit 0 when the address answers with success, 1 otherwise. For containers.

It never goes through a proxy: the address is that of a service beside it.
"""

from __future__ import annotations

import argparse
import sys

from core.http_probe import probe_failure

_TIMEOUT = 8.0


def main() -> int:
    """Ask once."""
    parser = argparse.ArgumentParser(prog="python -m services.healthcheck", description=__doc__)
    parser.add_argument("url")
    failure = probe_failure(parser.parse_args().url, _TIMEOUT)
    if failure is None:
        return 0
    print(failure, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
