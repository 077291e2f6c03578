"""Links of the health page: Data Docs, the Prefect UI, and sections of the runbook."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from core.settings import Settings


@dataclass(frozen=True)
class Links:
    """URLs. Each is None if its setting is empty. `console` is the path of the console, for its own pages."""

    data_docs: str | None = None
    prefect: str | None = None
    runbook: str | None = None
    console: str | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Links:
        """Read the URLs from the settings."""
        return cls(
            _web_url(settings.data_docs_web_url), _web_url(settings.prefect_ui_url), _web_url(settings.runbook_url)
        )

    def batch(self, batch_id: str) -> str | None:
        """The page of a batch: in the console, or else in Data Docs."""
        if self.console:
            return f"{self.console}/batches/{quote(batch_id)}"
        return self.docs_page(batch_id)

    def docs_page(self, batch_id: str) -> str | None:
        """The Data Docs page of a batch."""
        return f"{self.data_docs}/validations/{quote(batch_id)}.html" if self.data_docs else None

    def run(self, flow_run_id: str) -> str | None:
        """The page of a run in Prefect's UI."""
        return f"{self.prefect}/runs/flow-run/{quote(flow_run_id)}" if self.prefect else None

    def section(self, heading: str) -> str | None:
        """The section of the runbook with this heading."""
        return f"{self.runbook}#{anchor(heading)}" if self.runbook else None


def anchor(heading: str) -> str:
    """The anchor that GitHub and GitLab generate for a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _web_url(url: str) -> str | None:
    """The URL if it is http or https, else None: a URL of another scheme could run a script."""
    return url.rstrip("/") if url.startswith(("http://", "https://")) else None
