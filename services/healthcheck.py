"""`python -m services.healthcheck URL`: exit 0 when the address answers with success, 1 otherwise. For containers.

It never goes through a proxy: the address is that of a service beside it.
"""

from __future__ import annotations

import argparse
import sys
from urllib.request import ProxyHandler, build_opener

_TIMEOUT = 8.0


def main() -> int:
    """Ask once."""
    parser = argparse.ArgumentParser(prog="python -m services.healthcheck", description=__doc__)
    parser.add_argument("url")
    try:
        with build_opener(ProxyHandler({})).open(parser.parse_args().url, timeout=_TIMEOUT):
            return 0
    except OSError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
