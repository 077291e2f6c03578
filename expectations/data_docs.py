"""Data Docs that survive the run: one page a batch."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView


def docs_page(docs_dir: Path, batch_id: str) -> Path:
    """Where the page of a batch is, or will be."""
    return docs_dir / "validations" / f"{batch_id}.html"


def publish(docs_dir: Path, batch_id: str, judged: ExpectationSuiteValidationResult) -> Path:
    """Write the page of one batch, replacing an earlier one."""
    rendered = ValidationResultsPageRenderer(run_info_at_end=True).render(judged)
    page = docs_page(docs_dir, batch_id)
    _write(page, DefaultJinjaPageView().render(rendered, show_how_to_buttons=False))
    return page


def _write(path: Path, text: str) -> None:
    """Whole or not at all: a reader, or a run that dies, never leaves half a file behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".tmp-", delete=False) as file:
        file.write(text)
    os.replace(file.name, path)
