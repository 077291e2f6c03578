"""Check the names in `.env` and in the environment. A misspelled setting is an error."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path

from dotenv.parser import Binding, parse_stream
from dotenv.variables import Variable, parse_variables

from core.errors import SettingsError

# Docker Compose and Prefect read `.env` too. `docker-compose.yml` uses the passwords.
_FOREIGN_PREFIXES = ("COMPOSE_", "DOCKER_", "PREFECT_")
_COMPOSE_NAMES = frozenset(
    f"{name}_PASSWORD" for name in ("POSTGRES", "WAREHOUSE", "INGEST", "RECOMMENDER", "SERVING", "PREFECT")
)
# An environment variable with such a prefix is a misspelled setting if it resembles one.
_OUR_PREFIXES = (
    *("ALERT_", "BACKUPS_", "FETCH_", "MONITOR_", "MOOVITAMIX_", "PUBLICATIONS_"),
    *("RECOMMENDATIONS_", "RECOMMENDER_", "RETRAIN_", "SERVING_"),
)
# An environment variable with this prefix is always meant as a setting.
_RESERVED_PREFIX = "THRESHOLD_"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,80}")


def check_env_file(file: Path, settings: Iterable[str]) -> None:
    """Raises SettingsError that names every invalid line of the file. A missing file is valid.

    `settings` are the names of all settings, in upper case. The message holds no values: they may be passwords.
    """
    if not os.path.lexists(file):
        return
    valid_names = _COMPOSE_NAMES.union(settings)
    lines: dict[str, int] = {}
    wrong = []
    for line, binding in _bindings(file):
        name = binding.key or ""
        if binding.error or not _NAME.fullmatch(name) or binding.value is None:
            wrong.append(f"line {line} must look like NAME=value")
            continue
        name = name.upper()
        if name in lines:
            wrong.append(f"{name} is set in line {lines[name]} and again in line {line}")
        elif name not in valid_names and not _is_foreign(name, valid_names) and name not in os.environ:
            wrong.append(f"{name} in line {line} is no setting{_suggestion(name, valid_names)}")
        lines.setdefault(name, line)
        wrong += [
            f"{name} in line {line} refers to ${{{variable}}}, which is not set; set it, or write $ without braces"
            for variable in _unset_variables(binding.value, lines)
        ]
    if wrong:
        raise SettingsError(f"wrong setting in {file}: {'; '.join(wrong)} (.env.example lists all settings)")


def check_environment(settings: Iterable[str]) -> None:
    """Raises SettingsError that names every environment variable that is a misspelled setting.

    Only names with a prefix of our settings are checked, because other programs have variables too.
    """
    valid_names = _COMPOSE_NAMES.union(settings)
    wrong = [
        f"{name} is no setting{_suggestion(name, valid_names)}"
        for name in sorted(os.environ)
        if name not in valid_names and (name.startswith(_RESERVED_PREFIX) or _is_misspelled(name, valid_names))
    ]
    if wrong:
        raise SettingsError(f"wrong setting in the environment: {'; '.join(wrong)} (.env.example lists all settings)")


def _bindings(file: Path) -> Iterator[tuple[int, Binding]]:
    """Each assignment with its line number."""
    if not file.is_file():
        problem = "is a folder" if file.is_dir() else "is no file, or a link to nothing"
        raise SettingsError(f"wrong setting: {file} {problem}; replace it by a text file, or delete it")
    try:
        with file.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except OSError as error:
        raise SettingsError(f"wrong setting: {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"wrong setting: {file} is not UTF-8 text; save it as UTF-8") from None
    for binding in bindings:
        text = binding.original.string
        blank_lines = len(re.findall(r"\r\n|\r|\n", text[: len(text) - len(text.lstrip())]))
        if binding.key is not None or binding.error:
            yield binding.original.line + blank_lines, binding


def _unset_variables(value: str, lines: Iterable[str]) -> list[str]:
    """Names in ${...} that are not set and have no default."""
    names = [atom.name for atom in parse_variables(value) if isinstance(atom, Variable) and atom.default is None]
    return [name if _NAME.fullmatch(name) else "..." for name in names if name not in {*lines, *os.environ}]


def _is_foreign(name: str, valid_names: Iterable[str]) -> bool:
    if not name.startswith(_FOREIGN_PREFIXES):
        return False
    return not get_close_matches(name, valid_names, n=1, cutoff=0.92)  # Prefect's PREFECT_SERVER_API_HOST has 0.913


def _is_misspelled(name: str, valid_names: Iterable[str]) -> bool:
    prefix = next((prefix for prefix in _OUR_PREFIXES if name.startswith(prefix)), None)
    if prefix is None:
        return False
    suffixes = [setting.removeprefix(prefix) for setting in valid_names if setting.startswith(prefix)]
    return bool(get_close_matches(name.removeprefix(prefix), suffixes, n=1, cutoff=0.8))


def _suggestion(name: str, valid_names: Iterable[str]) -> str:
    matches = get_close_matches(name, valid_names, n=1, cutoff=0.7)
    if matches:
        return f", did you mean {matches[0]}?"
    return "" if name.startswith(_RESERVED_PREFIX) else "; if another program reads it, set it in the environment"
