"""Command-line options that both kinds of benchmark share."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.report import split_page
from benchmarks.source import ROOT


def parse_count(text: str) -> int:
    """A whole number from 1. Raises ValueError."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def add_write_option(parser: argparse.ArgumentParser, page: str) -> None:
    """Add `--write [FOLDER]`; without a folder it is docs."""
    parser.add_argument(
        "--write", nargs="?", type=Path, const=ROOT / "docs", metavar="FOLDER", help=f"write {page} there (docs)"
    )


def check_marks(parser: argparse.ArgumentParser, options: argparse.Namespace, page: str, mark: str) -> None:
    """Exit with 2 if the page to write has no marks."""
    if options.write:
        try:
            split_page(options.write / page, mark)
        except ValueError as error:
            parser.error(str(error))
