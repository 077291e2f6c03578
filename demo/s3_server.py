"""A local S3 server for demo, benchmarks and tests: moto's, which keeps objects in memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import requests


@contextmanager
def s3_server(*buckets: str) -> Iterator[str]:
    """Run the server on a free port with empty buckets, and yield its URL. Raises RuntimeError if it does not start."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = _url_of(process)
            for bucket in buckets:
                requests.put(f"{url}/{bucket}", timeout=30).raise_for_status()
            yield url
        finally:
            process.kill()


def _url_of(process: subprocess.Popen[str]) -> str:
    lines: list[str] = []
    for line in process.stderr or ():
        lines.append(line)
        if match := re.search(r"Running on (http://\S+)", line):
            threading.Thread(target=process.stderr.read, daemon=True).start()  # type: ignore[union-attr]  # it logs every request
            return match[1]
    raise RuntimeError(f"moto's S3 server did not start; run `make setup`: {''.join(lines)}")
