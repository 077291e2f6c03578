"""The simulation's part of docs/drift-simulation.md, between its two marks; the rest is written by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

from benchmarks.figures import Figure, Table
from benchmarks.monitoring.mock_days import MockWorld

PAGE = "drift-simulation.md"
PLOT = "images/quality-alarms.png"
_BEGIN, _END = "<!-- simulation: begin -->", "<!-- simulation: end -->"
_WIDTH = 120


@dataclass(frozen=True)
class Findings:
    """What one run found; the same for the same world and number of histories."""

    world: MockWorld
    count: int
    figures: Sequence[Figure]
    tables: Sequence[Table]


def write_part(findings: Findings, page: Path) -> None:
    """Renew what stands between the marks. Raises ValueError when the page does not have them."""
    before, after = around(page)
    page.write_text("\n".join([before + _BEGIN, "", *_part(findings), "", _END]) + after)


def around(page: Path) -> tuple[str, str]:
    """What stands before and after the marks. Raises ValueError when the page does not have them."""
    text = page.read_text() if page.exists() else ""
    if _BEGIN not in text or _END not in text:
        raise ValueError(f"{page} has no {_BEGIN} and {_END} to write between")
    return text.split(_BEGIN)[0], text.split(_END)[1]


def _part(findings: Findings) -> Iterator[str]:
    command = f"python -m benchmarks.monitoring --histories {findings.count} --write"
    yield f"Written by `{command}`, with the same figures every time."
    yield _wrapped(f"{findings.count:,} histories for each row. The mock has {findings.world}.")
    yield ""
    yield from _markdown(("Figure", "Target", "Number", "Verdict", "Measured"), [_row(one) for one in findings.figures])
    yield ""
    yield f"![The share of histories with an alarm over the days: nothing changed, and after drops]({PLOT})"
    for table in findings.tables:
        yield ""
        yield f"### {table.title}"
        yield ""
        yield _wrapped(table.how)
        yield ""
        yield from _markdown(table.header, table.rows)


def _row(figure: Figure) -> Sequence[str]:
    verdict = "**missed**" if figure.verdict == "missed" else "met"
    return figure.name, figure.target_shown, figure.shown, verdict, figure.measured


def _wrapped(text: str) -> str:
    return fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
