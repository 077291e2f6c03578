"""Write the tables of `docs/data-model/` from the comments in the database: `python -m cli.data_model_pages`.

Migrations set the comments. The pages say the same, and a test fails if they do not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from core.database import Connection, connect, readable_errors
from core.exit_codes import returns_exit_code, run_main
from core.queries import load_query
from core.roles import ensure_schema
from core.settings import load_settings
from core.side_schemas import SCHEMAS
from core.terminal import prepare_terminal

INDEX = Path(__file__).parent.parent / "docs" / "data-model.md"
FOLDER = INDEX.with_suffix("")
# Schemas with a page. The tables in `staging` belong to one batch or publication each.
SCHEMAS_WITH_A_PAGE = tuple(schema for schema in SCHEMAS if schema != "staging")
_BEGIN, _END = "<!-- comments: begin -->", "<!-- comments: end -->"
_SHORT_TYPES = {"timestamp with time zone": "timestamptz", "double precision": "double"}


def pages(connection: Connection) -> dict[Path, str]:
    """Each page of the data model, with the comments of this database between its markers. Raises DatabaseError."""
    tables = {INDEX: _schemas(connection)}
    tables |= {FOLDER / f"{schema}.md": _relations(connection, schema) for schema in SCHEMAS_WITH_A_PAGE}
    return {path: _replace_between_markers(path.read_text(), text) for path, text in tables.items()}


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages."""
    prepare_terminal()
    argparse.ArgumentParser(prog="python -m cli.data_model_pages", description=__doc__).parse_args(arguments)
    with connect(ensure_schema(load_settings())) as connection:
        for path, text in pages(connection).items():
            path.write_text(text)
    return 0


@readable_errors()
def _schemas(connection: Connection) -> str:
    lines = ["| schema | contents |", "|---|---|"]
    for schema, comment in connection.execute(load_query("ops/data_model.find_schemas"), {"schemas": list(SCHEMAS)}):
        name = f"[`{schema}`](data-model/{schema}.md)" if schema in SCHEMAS_WITH_A_PAGE else f"`{schema}`"
        lines.append(f"| {name} | {comment} |")
    return "\n".join(lines)


@readable_errors()
def _relations(connection: Connection, schema: str) -> str:
    """A heading, the grain and a table of columns for each table or view."""
    rows = connection.execute(load_query("ops/data_model.find_columns"), {"schema": schema}).fetchall()
    parts = []
    for (relation, is_view, comment), columns in groupby(rows, key=lambda row: row[:3]):
        parts += [f"## {relation}{' (view)' if is_view else ''}", "", comment, ""]
        parts += ["| column | type | meaning |", "|---|---|---|"]
        for *_, column, type_name, is_key, is_nullable, meaning in columns:
            properties = [
                _SHORT_TYPES.get(type_name, type_name),
                "key" if is_key else "",
                "null" if is_nullable else "",
            ]
            parts.append(f"| `{column}` | {', '.join(filter(None, properties))} | {meaning} |")
        parts.append("")
    return "\n".join(parts).rstrip()


def _replace_between_markers(page: str, text: str) -> str:
    head, _, tail = page.partition(_BEGIN)
    tail = tail.partition(_END)[2]
    return f"{head}{_BEGIN}\n\n{text}\n\n{_END}{tail}"


if __name__ == "__main__":
    sys.exit(run_main(main))
