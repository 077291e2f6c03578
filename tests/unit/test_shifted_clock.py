"""The shifted clock of `make test-under` does not change how long waits last, including those of librdkafka."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DAY = 86_400

WAITS = """
import threading, time
from confluent_kafka.admin import AdminClient
began = time.monotonic()
threading.Event().wait(0.1)
try:
    AdminClient({"bootstrap.servers": "127.0.0.1:9"}).list_topics(timeout=0.2)
except Exception as error:
    print(type(error).__name__, time.time(), time.monotonic() - began)
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_waits_end_in_time(tmp_path: Path) -> None:
    library = tmp_path / "shifted_clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, ROOT / ".ci/shifted_clock.c"], check=True)
    result = subprocess.run(
        [sys.executable, "-c", WAITS],
        env=os.environ | {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(DAY)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    error, now, seconds = result.stdout.split()
    assert error == "KafkaException"
    assert float(now) - time.time() > DAY - 60
    assert 0.3 <= float(seconds) < 30
