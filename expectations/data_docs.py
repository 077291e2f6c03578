"""Data Docs that survive: one page a batch, an index over all days, readable without a network.

    index.html                      every audit that is kept, the newest day first
    validations/<batch id>.html     the page of one batch
    results/<batch id>.json         what Great Expectations said of it, whole
    runs/<batch id>.json            its line of the index

Great Expectations renders the sections; the frame around them is ours, as its own loads styles and scripts from the
internet. Its site builder is not used: it writes in place and reads every old result to list them, so two runs at once
tear files and each audit costs more than the last. Here a file appears whole or not at all, and the index is made
from the small files in `runs` while one writer at a time holds a lock. A run that dies leaves nothing half-written,
and the next audit lists what it left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any, Self

from core.atomic_files import delete_unfinished_files, write_atomically
from core.audits import ExpectationResult
from core.endpoints import Audited, audited_key, is_personal
from core.errors import DiskFull, is_disk_full
from core.file_locks import FileLock, exclusive_lock
from expectations.gx import DefaultJinjaPageView, ValidationResultsPageRenderer

_TEMPLATES = Path(__file__).parent / "templates"
_KEYS_SHOWN = 20
# As the template of a page writes them: names, a colon, and the keys of rows.
_SHOWN_KEYS = re.compile(r'(<div class="keys">[^:<]*: )([^<]*)(</div>)')
_FOLDERS = {"validations": ".html", "results": ".json", "runs": ".json"}


@dataclass(frozen=True)
class AuditSummary:
    """One audit in the index, and the head of its page. `day` and `audited_at` are ISO texts; failures are lists of
    what each says, its rule, and the first keys of its rows."""

    batch_id: str
    endpoint: Audited
    day: str
    audited_at: str
    rules: int
    blocking: list[dict[str, Any]]
    warnings: list[dict[str, Any]]
    accepted: str = ""  # who let it in although it was blocked, and why

    @classmethod
    def from_results(
        cls, batch_id: str, endpoint: Audited, day: date, audited_at: datetime, results: Sequence[ExpectationResult]
    ) -> Self:
        """The line of one audit."""
        return cls(
            batch_id=batch_id,
            endpoint=endpoint,
            day=day.isoformat(),
            audited_at=audited_at.isoformat(),
            rules=len(results),
            blocking=[_failure(result) for result in results if result.blocks],
            warnings=[_failure(result) for result in results if not result.success and not result.blocks],
        )

    @property
    def status(self) -> str:
        """The word on the badge."""
        if self.accepted:
            return "accepted"
        return "blocked" if self.blocking else "warned" if self.warnings else "passed"

    @property
    def blocking_heading(self) -> str:
        """What stands above the rules that block."""
        return "Failed, and was accepted" if self.accepted else "Blocks publication"

    @property
    def audited(self) -> str:
        """When, as people read it."""
        return f"{datetime.fromisoformat(self.audited_at).astimezone(UTC):%Y-%m-%d %H:%M} UTC"

    @property
    def key_names(self) -> str:
        """What the keys of its rows are."""
        return ", ".join(audited_key(self.endpoint))


def _failure(result: ExpectationResult) -> dict[str, Any]:
    return {
        "rule": result.expectation,
        "says": result.description,
        "rows": list(result.failing_keys[:_KEYS_SHOWN]),
        "more": len(result.failing_keys) > _KEYS_SHOWN,
    }


class _BatchPage(DefaultJinjaPageView):
    """The page of one batch: Great Expectations' sections in a frame that needs no network."""

    _template = "batch.j2"


def docs_page(docs_dir: Path, batch_id: str) -> Path:
    """Where the page of a batch is, or will be."""
    return docs_dir / "validations" / f"{batch_id}.html"


def write_page(docs_dir: Path, line: AuditSummary, judged: Any) -> Path:
    """Write the page of one batch and list it in the index. An earlier audit of the same batch is replaced.

    `judged` is an ExpectationSuiteValidationResult, whose methods carry no types.
    """
    renderer: Any = ValidationResultsPageRenderer(run_info_at_end=True)
    document = renderer.render(judged)
    # The first section is an overview that links to a page which does not exist here; ours stands in its place.
    document.sections = document.sections[1:]
    page = docs_page(docs_dir, line.batch_id)
    _write(page, _view().render(document, batch=line))
    _write(docs_dir / "results" / f"{line.batch_id}.json", json.dumps(judged.to_json_dict()))
    _write(docs_dir / "runs" / f"{line.batch_id}.json", json.dumps(asdict(line)))
    with _lock(docs_dir):
        _write_index(docs_dir)
    return page


def prune_docs(docs_dir: Path, older_than: date) -> int:
    """Remove the audits judged before that day (or moment), and list the rest again. Returns how many went.

    Running it again changes nothing. A date starts at midnight UTC. Raises DiskFull when the index cannot be written.
    """
    limit = older_than if isinstance(older_than, datetime) else datetime(*older_than.timetuple()[:3], tzinfo=UTC)
    limit = limit if limit.tzinfo else limit.replace(tzinfo=UTC)
    if not docs_dir.is_dir():
        return 0
    with _lock(docs_dir):
        old = [line.batch_id for line in _lines(docs_dir) if datetime.fromisoformat(line.audited_at) < limit]
        for batch_id in old:
            for folder, suffix in _FOLDERS.items():
                (docs_dir / folder / f"{batch_id}{suffix}").unlink(missing_ok=True)
        _delete_unfinished(docs_dir, limit)
        if not old:
            return 0
        try:
            _write_index(docs_dir)
        except OSError as error:
            if not is_disk_full(error):
                raise
            raise DiskFull(
                f"{len(old)} pages of Data Docs were deleted, and there is no room for the index; free some, run again"
            ) from error
    return len(old)


def mark_accepted(docs_dir: Path, batch_id: str, why: str) -> None:
    """Say on the page of a blocked batch, and in the index, that it was let in, and why. Raises OSError."""
    with _lock(docs_dir):
        line = next((line for line in _lines(docs_dir) if line.batch_id == batch_id), None)
        if line is None:
            return
        accepted = replace(line, accepted=why)
        text = docs_page(docs_dir, batch_id).read_text()
        for before, after in zip(_heads(line), _heads(accepted), strict=True):
            text = text.replace(before, after, 1)
        _write(docs_page(docs_dir, batch_id), text)
        _write(docs_dir / "runs" / f"{batch_id}.json", json.dumps(asdict(accepted)))
        _write_index(docs_dir)


def _heads(line: AuditSummary) -> tuple[str, str, str]:
    """What a page says of its verdict: in its title, first, and above what blocks."""
    head = str(_view().env.get_template("head.j2").render(batch=line)).strip()
    return f"<title>{line.batch_id}: {line.status}</title>", head, f"<h2>{line.blocking_heading}</h2>"


def count_pages_with_keys(docs_dir: Path, user_id: int) -> int:
    """How many pages show the key of a listener's row."""
    return sum(_names(line, user_id) for line in _lines(docs_dir))


def remove_keys(docs_dir: Path, user_id: int) -> None:
    """Take the keys of a listener's rows off every page; its counts stay. Files that were never finished go.

    Running it again changes nothing.
    """
    if not docs_dir.is_dir():
        return
    with _lock(docs_dir):
        for line in _lines(docs_dir):
            if _names(line, user_id):
                _forget_keys_of(docs_dir, line, user_id)
        _delete_unfinished(docs_dir, datetime.max.replace(tzinfo=UTC))


def _names(line: AuditSummary, user_id: int) -> bool:
    keys = (key for failure in (*line.blocking, *line.warnings) for key in failure["rows"])
    return is_personal(line.endpoint) and any(_is_of(key, user_id) for key in keys)


def _is_of(key: str, user_id: int) -> bool:
    return key.split(" ")[0] == str(user_id)


def _forget_keys_of(docs_dir: Path, line: AuditSummary, user_id: int) -> None:
    def without_theirs(shown: re.Match[str]) -> str:
        before, keys, after = shown.groups()
        return before + ", ".join(key for key in keys.split(", ") if not _is_of(key, user_id)) + after

    # The page first: its line is what says that there is something to forget.
    page = docs_page(docs_dir, line.batch_id)
    if page.exists():
        _write(page, _SHOWN_KEYS.sub(without_theirs, page.read_text()))
    for failure in (*line.blocking, *line.warnings):
        failure["rows"] = [key for key in failure["rows"] if not _is_of(key, user_id)]
    _write(docs_dir / "runs" / f"{line.batch_id}.json", json.dumps(asdict(line)))


def _write_index(docs_dir: Path) -> None:
    lines = sorted(_lines(docs_dir), key=lambda line: (line.day, line.audited_at), reverse=True)
    _write(docs_dir / "index.html", _view().env.get_template("index.j2").render(batches=lines))


def _lines(docs_dir: Path) -> list[AuditSummary]:
    lines = []
    for path in (docs_dir / "runs").glob("*.json"):
        # A line that another version wrote is left out; its page stays.
        with suppress(ValueError, TypeError, FileNotFoundError):
            lines.append(AuditSummary(**json.loads(path.read_text())))
    return lines


@cache
def _view() -> Any:
    return _BatchPage(custom_views_directory=str(_TEMPLATES))


def _delete_unfinished(docs_dir: Path, before: datetime) -> None:
    for folder in (docs_dir, *(docs_dir / name for name in _FOLDERS)):
        delete_unfinished_files(folder, older_than=before.timestamp())


def _lock(docs_dir: Path) -> FileLock:
    """Let one process at a time write the index."""
    docs_dir.mkdir(parents=True, exist_ok=True)
    return exclusive_lock(docs_dir / ".lock")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text)
