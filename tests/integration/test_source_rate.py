"""One rate limit of the source holds for several processes, and also for retries."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.database import connect
from core.errors import DatabaseError
from core.roles import INGEST, in_role
from pipeline.request_rate import SharedRequestRate
from tests.conftest import MockApi

PROCESSES, THREADS, PAGES, RATE = 3, 2, 12, 20
# Fetches pages as soon as it is told to, and prints when each request was sent.
FETCH = f"""
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
from core.settings import load_settings
from pipeline.client import ApiClient
from pipeline.request_rate import request_rate_of

settings = load_settings()
with request_rate_of(settings) as rate:
    wait, sent = rate.wait, []
    rate.wait = lambda: (wait(), sent.append(time.time()))
    client = ApiClient(settings, request_rate=rate)
    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor({THREADS}) as pool:
        list(pool.map(lambda number: client.fetch_page("tracks", number), range(1, {PAGES} + 1)))
print(json.dumps(sent))
"""


def test_processes_together_keep_the_limit(api: MockApi, environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_REQUESTS_PER_SECOND", str(RATE))
    monkeypatch.setenv("PAGE_SIZE", "5")
    api.set_faults({"endpoint": "tracks", "fail_first": 1})
    processes = [
        subprocess.Popen([sys.executable, "-c", FETCH], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    started = time.monotonic()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    sent = sorted(moment for process in processes for moment in json.loads(process.communicate(timeout=120)[0]))
    seconds = time.monotonic() - started
    requests = api.request_counts()["by_endpoint"]["tracks"]
    assert len(sent) == requests > PROCESSES * PAGES  # with retries
    assert seconds >= (requests - 1) / RATE
    # A thread may send a moment after its reserved time, so one second may have one more request of each thread.
    busiest_second = max(sum(begin <= moment < begin + 1 for moment in sent) for begin in sent)
    assert busiest_second <= RATE + PROCESSES * THREADS


def test_unused_requests_do_not_accumulate(database: str) -> None:
    rate = SharedRequestRate(in_role(database, INGEST), "http://source.example", 50)
    rate.wait()
    time.sleep(0.2)
    started = time.monotonic()
    for _ in range(6):
        rate.wait()
    rate.close()
    assert time.monotonic() - started >= 5 / 50


def test_wait_raises_if_the_role_lacks_a_right(database: str) -> None:
    rate = SharedRequestRate(in_role(database, INGEST), "http://source.example", 50)
    with connect(database) as connection:
        connection.execute("revoke insert on ops.request_rates from moovitamix_ingest")
    with pytest.raises(DatabaseError, match="lacks a right"):
        rate.wait()
    rate.close()
