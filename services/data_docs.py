"""Serves Data Docs to browsers of this machine: the files of a folder or an object store, without listings."""

from __future__ import annotations

import argparse
import mimetypes
import sys
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from core.errors import ObjectStoreError
from core.exit_codes import returns_exit_code, run_main
from core.file_store import FileStore
from core.stores import docs_store
from core.terminal import prepare_terminal
from services.local_services import HOST, load_local_services

_NOTHING_YET = b"""<!doctype html><meta charset="utf-8"><title>Data Docs</title>
<p style="font: 1rem sans-serif">
No batch is audited yet: run the deployment <code>ingest/daily</code>, then reload.</p>
"""
_INDEX = "index.html"


class _DataDocs(BaseHTTPRequestHandler):
    def __init__(self, *arguments: Any, docs: FileStore) -> None:
        self._docs = docs
        super().__init__(*arguments)

    def do_GET(self) -> None:
        name = unquote(urlsplit(self.path).path).strip("/") or _INDEX
        try:
            content = self._docs.read(_safe(name))
        except ObjectStoreError as error:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, explain=str(error))
            return
        except (OSError, ValueError):
            if name != _INDEX:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            content = _NOTHING_YET
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", mimetypes.guess_type(name)[0] or "application/octet-stream")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET


def _safe(name: str) -> str:
    """The name of a file of Data Docs. Raises ValueError for a hidden one, and for a path out of their place."""
    if any(part.startswith(".") or not part for part in name.split("/")) or "\0" in name:
        raise ValueError
    return name


def server(docs: FileStore, host: str, port: int) -> ThreadingHTTPServer:
    """Return a server of Data Docs, which need not exist yet."""
    return ThreadingHTTPServer((host, port), partial(_DataDocs, docs=docs))


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
    server(docs_store(services.settings), host, services.ports.data_docs_port).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
