"""Lands and transforms rows that a test defines, without a source API or a database."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from core.clock import utc_now
from core.dates import parse_day
from core.endpoints import Endpoint
from core.file_store import FolderStore
from core.settings import load_settings
from pipeline.batches import Batch
from pipeline.client import ApiClient
from pipeline.landing import Landing, land_snapshot
from pipeline.raw_pages import write_pages
from pipeline.transformation import TransformedBatch, transform

NOW = datetime(2026, 11, 22)


def transform_rows(folder: Path, endpoint: Endpoint, rows: list[Any], size: int = 100) -> TransformedBatch:
    """Land the rows in pages of `size` and transform them."""
    store = FolderStore(folder / "landing")
    pages = [rows[start : start + size] for start in range(0, len(rows), size)]
    bodies = [json.dumps({"items": page, "total": len(rows), "size": size}).encode() for page in pages]
    for number, body in enumerate(bodies, 1):
        write_pages(store, f"pages-{number:07d}-{number:07d}.jsonl.zst", [body])
    landing = Landing(store, "", "http://a", len(rows), len(rows), len(pages), size, NOW, NOW)
    return transform(landing, endpoint, folder / "transformed", published=None, latest=NOW)


def land_tracks(day: str) -> Landing:
    """Land all tracks of the source in the settings, without a database."""
    settings = load_settings()
    batch = Batch("tracks", parse_day(day), settings.source)
    return land_snapshot(ApiClient(settings), batch, settings, clock=utc_now, progress=lambda *_: None)
