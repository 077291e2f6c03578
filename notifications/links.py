"""The pages about a batch: its run, its Data Docs page and its page of the console."""

from __future__ import annotations

from urllib.parse import quote

from core.settings import Settings


def links_of_batch(settings: Settings, batch_id: str, flow_run_id: str | None) -> dict[str, str]:
    """Return the URLs by label. A page whose setting is empty is left out; without an id there is no run."""
    bases = {
        "Run": (settings.prefect_ui_url, f"runs/flow-run/{flow_run_id}" if flow_run_id else ""),
        "Audit": (settings.data_docs_web_url, docs_path(batch_id)),
        "Batch": (settings.serving_public_url, f"console/batches/{quote(batch_id)}"),
    }
    return {label: f"{base.rstrip('/')}/{path}" for label, (base, path) in bases.items() if base and path}


def docs_path(batch_id: str) -> str:
    """The path of the Data Docs page of a batch, below DATA_DOCS_WEB_URL."""
    return f"validations/{quote(batch_id)}.html"
