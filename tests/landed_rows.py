"""Lands and transforms rows that a test defines, without a source API or a database."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from core.endpoints import Endpoint
from pipeline.landing import Landing
from pipeline.raw_pages import write_pages
from pipeline.transformation import TransformedBatch, transform

NOW = datetime(2026, 11, 22)


def transform_rows(folder: Path, endpoint: Endpoint, rows: list[Any], size: int = 100) -> TransformedBatch:
    """Land the rows in pages of `size` and transform them."""
    landing_folder = folder / "landing"
    landing_folder.mkdir(exist_ok=True)
    pages = [rows[start : start + size] for start in range(0, len(rows), size)]
    bodies = [json.dumps({"items": page, "total": len(rows), "size": size}).encode() for page in pages]
    for number, body in enumerate(bodies, 1):
        write_pages(landing_folder / f"pages-{number:07d}-{number:07d}.jsonl.zst", [body])
    landing = Landing(landing_folder, "http://a", len(rows), len(rows), len(pages), size, NOW, NOW)
    return transform(landing, endpoint, folder / "transformed", published=None, latest=NOW)
