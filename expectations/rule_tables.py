"""Tables of all rules. `python -m expectations.rule_tables --write` updates `docs/data-quality.md`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import ModuleType

from core.endpoints import ENDPOINTS, LISTEN_HISTORY, TRACKS, USERS, Endpoint
from expectations import fresh_recommendations, listen_history, recommendations, streamed_sessions, tracks, users
from expectations.gx import Expectation
from expectations.rules import meta_of
from expectations.thresholds import Thresholds

PAGE = Path(__file__).parent.parent / "docs" / "data-quality.md"
BEGIN, END = "<!-- rules: begin -->", "<!-- rules: end -->"


def rules_as_markdown() -> str:
    """A table of the rules for batches, and one of each other suite, with the default thresholds.

    Rules with the same effect follow a row that names it. Rules for batches that differ only in their endpoint or field
    share a row.
    """
    parts = ["### Batches", "", "| Rule | For | Requirement |", "|---|---|---|", *_grouped(_rows_of_batches())]
    for suite in (recommendations, streamed_sessions, fresh_recommendations):
        parts += ["", f"### {_name(suite)}", "", "| Rule | Requirement |", "|---|---|"]
        parts += _grouped([(effect, (rule, requirement)) for effect, rule, requirement in _cells(suite)])
    return "\n".join([*parts, ""])


def with_new_tables(page: str) -> str:
    """The page with new tables between its markers."""
    head, _, tail = page.partition(BEGIN)
    tail = tail.partition(END)[2]
    return f"{head}{BEGIN}\n\n{rules_as_markdown()}\n{END}{tail}"


def main() -> int:
    """Print the tables, or write them to the page."""
    parser = argparse.ArgumentParser(prog="python -m expectations.rule_tables", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"update {PAGE.name}")
    if parser.parse_args().write:
        PAGE.write_text(with_new_tables(PAGE.read_text()))
    else:
        print(rules_as_markdown())
    return 0


def _grouped(rows: Iterable[tuple[str, tuple[str, ...]]]) -> Iterator[str]:
    """The rows by effect, each group after a row with the effect."""
    for effect, group in groupby(sorted(rows), key=itemgetter(0)):
        cells = [row for _, row in group]
        yield f"| **{effect}** {'|' + ' |' * (len(cells[0]) - 1)}"
        yield from (f"| {' | '.join(row)} |" for row in cells)


def _rows_of_batches() -> Iterator[tuple[str, tuple[str, ...]]]:
    """The effect, and one row for each rule, or for the same rule on several fields."""
    fields_by_rule: dict[tuple[str, ...], dict[Endpoint, list[str]]] = {}
    for suite, endpoint in ((tracks, TRACKS), (users, USERS), (listen_history, LISTEN_HISTORY)):
        for cells in _cells(suite):
            field = next((text for text in ENDPOINTS[endpoint].texts if cells[1] in _names_of_field_rules(text)), "")
            rule = tuple(cell.replace(field, "FIELD") for cell in cells) if field else cells
            fields_by_rule.setdefault(rule, {}).setdefault(endpoint, []).append(field)
    for (effect, name, requirement), fields in fields_by_rule.items():
        yield effect, (name, _validity(fields), requirement)


def _names_of_field_rules(field: str) -> set[str]:
    return {f"`{field}_is_not_{fault}`" for fault in ("blank", "endless", "lost")}


def _validity(fields_by_endpoint: Mapping[Endpoint, Sequence[str]]) -> str:
    """The endpoints of a rule. Those with a rule for some of their text fields also name these fields."""
    if set(fields_by_endpoint) == set(ENDPOINTS):
        return "all"
    return ", ".join(
        endpoint if len(fields) in (1, len(ENDPOINTS[endpoint].texts)) else f"{endpoint} ({', '.join(fields)})"
        for endpoint, fields in fields_by_endpoint.items()
    )


def _cells(suite: ModuleType) -> list[tuple[str, str, str]]:
    """Effect, name and requirement of each rule."""
    rules_by_scope = {
        "rows": suite.row_expectations(_DEFAULTS, "profile"),
        "the batch": suite.profile_expectations(_DEFAULTS),
    }
    return [
        (f"{_effect(rule, suite)}: {scope}", f"`{meta_of(rule)['rule']}`", meta_of(rule)["requirement"])
        for scope, rules in rules_by_scope.items()
        for rule in rules
    ]


def _name(suite: ModuleType) -> str:
    return suite.__name__.rpartition(".")[2]


def _effect(rule: Expectation, suite: ModuleType) -> str:
    if suite in (streamed_sessions, fresh_recommendations) and rule.severity.value == "critical":
        return "fails"
    if meta_of(rule).get("structural"):
        return "blocks, always"
    return "blocks" if rule.severity.value == "critical" else "warns"


# The defaults, without the environment.
_DEFAULTS = Thresholds.model_construct(**{name: field.default for name, field in Thresholds.model_fields.items()})

if __name__ == "__main__":
    sys.exit(main())
