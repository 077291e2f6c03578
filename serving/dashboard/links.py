"""Where the page leads to: Data Docs, Prefect's UI, and the section of the runbook that helps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from core.settings import Settings

RUNBOOK = "docs/operations.md"


@dataclass(frozen=True)
class Links:
    """Addresses, each None where nobody said where it is."""

    data_docs: str | None = None
    prefect: str | None = None
    runbook: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Links:
        """Those of the settings."""
        return cls(_web(settings.data_docs_url), _web(settings.prefect_ui_url), _web(settings.runbook_url))

    def batch(self, batch_id: str) -> str | None:
        """The page of Data Docs on one batch."""
        return f"{self.data_docs}/validations/{quote(batch_id)}.html" if self.data_docs else None

    def section(self, heading: str) -> str | None:
        """The section of the runbook with this heading."""
        return f"{self.runbook}#{anchor(heading)}" if self.runbook else None


def anchor(heading: str) -> str:
    """What GitHub and GitLab make of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _web(url: str) -> str | None:
    """Only what a browser opens as a page: an address of another kind could be a script."""
    return url.rstrip("/") if url.startswith(("http://", "https://")) else None
