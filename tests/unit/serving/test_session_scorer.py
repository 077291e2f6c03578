"""The session scorer, with a process that answers only when a file exists."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from serving import session_scorer
from serving.problems import Problem
from serving.session_scorer import SessionScorer

_PROCESS = """
import json, os, sys, time
for line in sys.stdin:
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.01)
    answer = {"id": json.loads(line)["id"], "publication_id": 1, "known_tracks": 1, "track_ids": [7], "scores": [1]}
    print(json.dumps(answer), flush=True)
"""


def test_requests_that_timed_out_count_until_they_are_answered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(session_scorer, "_COMMAND", (sys.executable, "-c", _PROCESS, str(tmp_path / "go")))
    monkeypatch.setattr(session_scorer, "_MAX_WAITING", 2)
    monkeypatch.setattr(session_scorer, "_MAX_SECONDS", 0.2)

    async def run() -> None:
        scorer = SessionScorer({})

        async def refusal() -> str:
            with pytest.raises(Problem) as raised:
                await scorer.recommend([1], [], 1)
            return str(raised.value.why)

        assert [await refusal() for _ in range(4)] == ["it did not answer in time"] * 2 + ["too many sessions wait"] * 2
        (tmp_path / "go").touch()
        async with asyncio.timeout(60):
            while True:
                try:
                    tracks = await scorer.recommend([1], [], 1)
                    break
                except Problem:
                    await asyncio.sleep(0.05)
        assert tracks.track_ids == [7]
        await scorer.close()

    asyncio.run(run())
