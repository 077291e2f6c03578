"""The summary that `make demo` prints: batches, blocked batches with reasons, rejected rows, and locations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg.rows import namedtuple_row
from rich.console import Console
from rich.table import Table
from rich.text import Text

from core.data_layout import DataLayout
from core.database import Connection

_STYLES = {"published": "green", "unchanged": "green", "blocked": "bold red", "failed": "bold red"}
_BATCHES = """
select batch_id, day, endpoint, revision, status, rows_landed, rows_rejected, rows_conflicting, rows_unchanged,
       rows_inserted, rows_updated, rows_removed, plays_rejected, reason
from ops.batches order by day, revision, array_position(array['tracks', 'users', 'listen_history'], endpoint)
"""
_REJECTED = """
select batch_id, reason, play_position is not null as play, count(*) as count
from ops.rejected_rows group by 1, 2, 3 order by 1, 2
"""
_WAREHOUSE = """
select (select count(*) from warehouse.tracks where removed_at is null) as tracks,
       (select count(*) from warehouse.users where removed_at is null) as users,
       (select count(*) from warehouse.listen_history where removed_at is null) as sessions,
       (select count(*) from mart.fact_listens) as plays
"""


@dataclass(frozen=True)
class Summary:
    """Batches, rejected rows and warehouse counts after the last day."""

    batches: list[Any]
    rejected: list[Any]
    warehouse: Any

    def show(self, console: Console) -> None:
        """Print the summary."""
        console.print(self._table())
        self._blocked(console)
        self._rejected_rows(console)
        counts = self.warehouse
        console.print(
            f"\n[bold]In the warehouse[/]  {counts.tracks:,} tracks, {counts.users:,} users, "
            f"{counts.sessions:,} sessions, {counts.plays:,} plays"
        )

    def _table(self) -> Table:
        table = Table(title="Batches, in rows", title_justify="left", title_style="bold", show_edge=False)
        table.add_column("batch", no_wrap=True)
        table.add_column("status", no_wrap=True)
        for name in ("read", "rejected", "conflicting", "unchanged", "new", "changed", "removed"):
            table.add_column(name, justify="right", no_wrap=True)
        day = None
        for batch in self.batches:
            if day not in (None, batch.day):
                table.add_section()
            day = batch.day
            counts = (
                batch.rows_landed,
                batch.rows_rejected,
                batch.rows_conflicting,
                batch.rows_unchanged,
                batch.rows_inserted,
                batch.rows_updated,
                batch.rows_removed,
            )
            style = _STYLES.get(batch.status, "yellow")
            table.add_row(batch.batch_id, Text(batch.status, style), *(f"{n:,}" if n else "-" for n in counts))
        return table

    def _blocked(self, console: Console) -> None:
        console.print("\n[bold]Blocked batches[/]  (no row of them reached the warehouse)")
        for batch in self.batches:
            if batch.status in ("blocked", "failed"):
                console.print(Text(f"  {batch.batch_id:<30}{batch.reason}"), soft_wrap=True)

    def _rejected_rows(self, console: Console) -> None:
        console.print("\n[bold]Rejected rows[/]  (the rest of the batch was published)")
        for row in self.rejected:
            noun = ("play" if row.play else "row") + ("s" if row.count != 1 else "")
            console.print(Text(f"  {row.batch_id:<30}{row.count} {noun}: {row.reason}"), soft_wrap=True)


def print_locations(console: Console, folder: Path, how_to_open: str) -> None:
    """Print where to find the Data Docs, the database and the log."""
    console.print("\n[bold]Where to look[/]")
    for name, location in (
        ("Data Docs", DataLayout(folder).data_docs / "index.html"),
        ("Database", how_to_open),
        ("Log", DataLayout(folder).log("demo")),
        ("All services, Prefect UI", "make up"),
    ):
        console.print(Text(f"  {name:<30}{location}"), soft_wrap=True)


def read_summary(connection: Connection) -> Summary:
    """Read the summary of all ingests."""
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        batches = cursor.execute(_BATCHES).fetchall()
        rejected = cursor.execute(_REJECTED).fetchall()
        return Summary(batches, rejected, cursor.execute(_WAREHOUSE).fetchone())
