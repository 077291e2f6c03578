"""Tables of all rules and thresholds. `python -m expectations.catalogue --write` updates `docs/data-quality.md`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import ModuleType

from expectations import fresh_recommendations, listen_history, recommendations, streamed_sessions, tracks, users
from expectations.gx import Expectation
from expectations.rules import meta_of
from expectations.thresholds import Thresholds

PAGE = Path(__file__).parent.parent / "docs" / "data-quality.md"
BEGIN, END = "<!-- rules: begin -->", "<!-- rules: end -->"


def rules_as_markdown() -> str:
    """One table per suite, with the default thresholds. Rules that block come first."""
    parts = []
    for suite in (tracks, users, listen_history, recommendations, streamed_sessions, fresh_recommendations):
        name = suite.__name__.rpartition(".")[2]
        rules_by_scope = {
            "rows": suite.row_expectations(_DEFAULTS, "profile"),
            "batch": suite.profile_expectations(_DEFAULTS),
        }
        lines = [
            (_effect(rule, suite), meta_of(rule)["rule"], scope, meta_of(rule)["requirement"])
            for scope, rules in rules_by_scope.items()
            for rule in rules
        ]
        parts += [f"### {name}", "", "| | Rule | About | Requirement |", "|---|---|---|---|"]
        parts += [
            f"| {effect} | `{rule}` | {scope} | {requirement} |" for effect, rule, scope, requirement in sorted(lines)
        ]
        parts.append("")
    return "\n".join(parts)


def thresholds_as_markdown() -> str:
    """One line per threshold."""
    lines = ["| Variable | Default | Why |", "|---|---|---|"]
    for name, field in Thresholds.model_fields.items():
        lines.append(f"| `THRESHOLD_{name.upper()}` | {field.default:g} | {field.description} |")
    return "\n".join(lines) + "\n"


def with_new_tables(page: str) -> str:
    """The page with new tables between its markers."""
    head, _, rest = page.partition(BEGIN)
    tail = rest.partition(END)[2]
    return f"{head}{BEGIN}\n\n{rules_as_markdown()}\n### Thresholds\n\n{thresholds_as_markdown()}\n{END}{tail}"


def main() -> int:
    """Print the tables, or write them to the page."""
    parser = argparse.ArgumentParser(prog="python -m expectations.catalogue", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"update {PAGE.name}")
    if parser.parse_args().write:
        PAGE.write_text(with_new_tables(PAGE.read_text()))
    else:
        print(rules_as_markdown(), thresholds_as_markdown(), sep="\n")
    return 0


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
