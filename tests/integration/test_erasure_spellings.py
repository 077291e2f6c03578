"""Other spellings of an erased user's e-mail address and id: their rows are erased and stay out."""

from __future__ import annotations

import json
import subprocess
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from core import embedded_postgres
from core.file_store import FolderStore
from flows import erase, ingest
from pipeline.raw_pages import read_pages, write_pages
from tests.conftest import Query
from tests.database_state import assert_rows_add_up
from tests.source_stub import SourceStub, serve_source, session, track, user

DAY, NEXT_DAY = "2026-11-20", "2026-11-21"
MARK = "quuxmark"  # part of every spelling
ADDRESS = f"z\u00e9.{MARK}@ex\u00e4mple.com"
NFD = unicodedata.normalize("NFD", ADDRESS)
SPELLINGS = [
    ADDRESS, NFD, NFD.upper(), f"z\u00e9.{MARK}@xn--exmple-cua.com", f" {ADDRESS}. ", f"Z\u00e9 <{NFD}>",
    ADDRESS.replace("@", "\uff20"), ADDRESS.replace(".com", "\u200b.com"), f"z%C3%A9.{MARK}%40ex%C3%A4mple.com",
    rf"z\u00e9.{MARK}@ex\u00e4mple.com", f'"z\u00e9.{MARK}"@ex\u00e4mple.com',
]  # fmt: skip
IDS = [" 5 ", "+5", "5.0", "\uff15", "user 5", -5, None]


@pytest.fixture
def source(prefect_server: None, environment: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SourceStub]:
    users = [user(number) for number in range(1, 13)]
    users[4]["email"] = ADDRESS
    without_id: list[Any] = [user(0, email=text) | {"id": None} for text in SPELLINGS]
    odd_ids: list[Any] = [
        user(0, email=ADDRESS if text in (-5, None) else f"{MARK}@x.com") | {"id": text} for text in IDS
    ]
    rows = SourceStub([track(1)], [*users, *without_id, *odd_ids], [session(5, [1]), session(6, [1])])
    with serve_source(rows) as stub:
        for name, value in {
            "MOOVITAMIX_API_URL": stub.url,
            "PAGE_SIZE": "10",
            "THRESHOLD_MAX_REJECTED_SHARE": "1",
            "THRESHOLD_MIN_SHARE_OF_PUBLISHED": "0",
        }.items():
            monkeypatch.setenv(name, value)
        yield stub


def traces(database: str, data_dir: Path) -> list[str]:
    """Places with the mark: lines of a database dump, and files of raw pages."""
    dump = subprocess.run(
        [str(embedded_postgres.programs_folder() / "pg_dump"), f"--dbname={database}"], check=True, capture_output=True
    ).stdout
    places = [line for line in dump.decode().splitlines() if MARK in line.casefold()]
    for path in data_dir.rglob("*.zst"):
        pages = zstandard.ZstdDecompressor().decompress(path.read_bytes()).split(b"\n")
        places += [str(path) for page in pages if MARK in json.dumps(json.loads(page), ensure_ascii=False).casefold()]
    return places


def test_erasure_covers_every_spelling_of_email_and_id(
    source: SourceStub, query: Query, database: str, environment: Path
) -> None:
    assert ingest.main(["--day", DAY]) == 0
    malformed = len(SPELLINGS) + len(IDS)
    assert query("select rows_rejected from ops.batches where endpoint = 'users'") == [(malformed,)]
    assert len(traces(database, environment)) > malformed

    assert erase.main(["5", "--reason", "request", "--requested-by", "ticket nine"]) == 0
    assert traces(database, environment) == []

    assert ingest.main(["--day", NEXT_DAY]) == 0
    assert traces(database, environment) == []
    assert query(
        "select endpoint, rows_rejected, rows_erased from ops.batches"
        " where day = %s and endpoint <> 'tracks' order by 1",
        NEXT_DAY,
    ) == [("listen_history", 0, 1), ("users", 0, malformed + 1)]
    assert_rows_add_up(query)

    # --again erases a row that an earlier version missed, and leaves rows of other users.
    missed = [json.dumps(user(0, email=text) | {"id": None}) for text in (NFD, "somebody@else.example")]
    for raw in missed:
        query("insert into ops.rejected_rows values (%s, 'users', 1, null, %s, 'old') returning 1", f"users-{DAY}", raw)
    pages = FolderStore(environment / "landing" / "users" / f"users-{DAY}"), "pages-0000009-0000009.jsonl.zst"
    write_pages(*pages, [f'{{"items": [{", ".join(missed)}], "total": 2}}'.encode()])
    assert len(traces(database, environment)) == 2

    assert erase.main(["--again"]) == 0

    assert traces(database, environment) == []
    assert query("select raw_json from ops.rejected_rows where reason = 'old' and raw_json like '%%else%%'") == [
        (missed[1],)
    ]
    assert b"somebody@else.example" in read_pages(*pages)[0]
