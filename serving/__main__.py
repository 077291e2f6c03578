"""`python -m serving`: run the API for front ends until the process is stopped."""

from __future__ import annotations

import argparse
import gc
import sys

import uvicorn

from core.exit_codes import returns_exit_code, run_main
from core.settings import load_settings
from core.terminal import prepare_terminal
from serving.app import MAX_HEAD_BYTES, create_app
from serving.database import ensure_serving_database
from serving.request_logging import log_to_stdout

_SHUTDOWN_SECONDS = 5


@returns_exit_code
def main() -> int:
    """Run the server. Exit 0: stopped; 1: it cannot start; 2: wrong settings."""
    prepare_terminal()
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    parser.add_argument("--host", help="address to listen on (default: SERVING_HOST; the port is SERVING_PORT)")
    host = parser.parse_args().host
    settings = load_settings(data_dir_is_written=False)
    app = create_app(settings, ensure_serving_database(settings))
    log_to_stdout()
    gc.freeze()  # the collector skips objects of the start-up; scanning them took up to 50 ms
    uvicorn.run(
        app,
        host=host or settings.serving_host,
        port=settings.serving_port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # rate limits count the connecting address, not a forwarded header
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
