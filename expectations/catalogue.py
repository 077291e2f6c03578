"""What is checked, as tables for people: `python -m expectations.catalogue --write` renews `docs/data-quality.md`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from expectations import listen_history, recommendations, tracks, users
from expectations.gx import Expectation
from expectations.rules import meta_of
from expectations.thresholds import Thresholds

PAGE = Path(__file__).parent.parent / "docs" / "data-quality.md"
BEGIN, END = "<!-- rules: begin -->", "<!-- rules: end -->"


def rules_as_markdown() -> str:
    """One table a suite, with the default thresholds: what blocks first, then what warns."""
    parts = []
    for suite in (tracks, users, listen_history, recommendations):
        name = suite.__name__.rpartition(".")[2]
        every = suite.row_expectations(_DEFAULTS, "profile"), suite.profile_expectations(_DEFAULTS)
        lines = [
            (_word(rule), meta_of(rule)["rule"], about, meta_of(rule)["requirement"])
            for rules, about in zip(every, ("rows", "batch"), strict=True)
            for rule in rules
        ]
        parts += [f"### {name}", "", "| | Rule | About | What must hold |", "|---|---|---|---|"]
        parts += [f"| {word} | `{rule}` | {about} | {says} |" for word, rule, about, says in sorted(lines)]
        parts.append("")
    return "\n".join(parts)


def thresholds_as_markdown() -> str:
    """One line a threshold."""
    lines = ["| Variable | Default | Why |", "|---|---|---|"]
    for name, field in Thresholds.model_fields.items():
        lines.append(f"| `THRESHOLD_{name.upper()}` | {field.default:g} | {field.description} |")
    return "\n".join(lines) + "\n"


def with_new_tables(page: str) -> str:
    """The page with what stands between its markers written anew."""
    head, _, rest = page.partition(BEGIN)
    tail = rest.partition(END)[2]
    return f"{head}{BEGIN}\n\n{rules_as_markdown()}\n### Thresholds\n\n{thresholds_as_markdown()}\n{END}{tail}"


def main() -> int:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(prog="python -m expectations.catalogue", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"renew {PAGE.name}")
    if parser.parse_args().write:
        PAGE.write_text(with_new_tables(PAGE.read_text()))
    else:
        print(rules_as_markdown(), thresholds_as_markdown(), sep="\n")
    return 0


def _word(rule: Expectation) -> str:
    if meta_of(rule).get("structural"):
        return "blocks, always"
    return "blocks" if rule.severity.value == "critical" else "warns"


# The defaults themselves, whatever the environment says.
_DEFAULTS = Thresholds.model_construct(**{name: field.default for name, field in Thresholds.model_fields.items()})

if __name__ == "__main__":
    sys.exit(main())
