"""Serves Data Docs to browsers of this machine: the files of one folder, without directory listings."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from core.exit_codes import returns_exit_code, run_main
from core.terminal import prepare_terminal
from services.local_services import HOST, load_local_services

_NOTHING_YET = b"""<!doctype html><meta charset="utf-8"><title>Data Docs</title>
<p style="font: 1rem sans-serif">
No batch is audited yet: run the deployment <code>ingest/daily</code>, then reload.</p>
"""


class _DataDocs(SimpleHTTPRequestHandler):
    def list_directory(self, path: Any) -> None:
        """Send a page with instructions while there are no Data Docs. Never list files."""
        if Path(path) != Path(self.directory):
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(_NOTHING_YET)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(_NOTHING_YET)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()


def server(folder: Path, host: str, port: int) -> ThreadingHTTPServer:
    """Return a server of the folder, which need not exist yet."""
    return ThreadingHTTPServer((host, port), partial(_DataDocs, directory=str(folder)))


@returns_exit_code
def main() -> int:
    """Serve until it is stopped."""
    prepare_terminal()
    parser = argparse.ArgumentParser(prog="python -m services.data_docs", description=__doc__)
    parser.add_argument(
        "--host", default=HOST, help="where to listen (default: %(default)s; the port is DATA_DOCS_PORT)"
    )
    host = parser.parse_args().host
    services = load_local_services(data_dir_is_written=False)
    folder = services.layout.data_docs
    with suppress(OSError):  # read-only: the worker creates it
        folder.mkdir(exist_ok=True)
    server(folder, host, services.ports.data_docs_port).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
