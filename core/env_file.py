"""Check the names in `.env` and in the environment.

In `.env`, an unknown name is an error. In the environment, it is one only if it looks like a misspelled setting.
"""

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
    f"{name}_PASSWORD" for name in ("POSTGRES", "WAREHOUSE", "INGEST", "RECOMMENDER", "SERVING", "STREAM", "PREFECT")
)
# An unknown environment variable with one of these prefixes is an error if its name resembles a setting.
_SETTING_PREFIXES = (
    *("ALERT_", "BACKUPS_", "CONSOLE_", "DASK_", "EMBEDDED_", "FETCH_", "INGEST_", "LANDING_", "MODELS_", "MONITOR_"),
    *("MOOVITAMIX_", "OLD_MONTHS_", "PUBLICATIONS_", "RECOMMEND_", "RECOMMENDATION_", "RECOMMENDATIONS_"),
    *(
        "RECOMMENDER_",
        "RETENTION_",
        "RETRAIN_",
        "RUNBOOK_",
        "SERVING_",
        "SIMILAR_",
        "SOURCE_",
        "STREAM_",
        "USER_TRACK_",
    ),
)
# An unknown environment variable with this prefix is always an error.
_RESERVED_PREFIX = "THRESHOLD_"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,80}")


def check_env_file(file: Path, settings: Iterable[str]) -> None:
    """Raise a SettingsError that names every invalid line of the file. A missing file is valid.

    `settings` are the names of all settings, in upper case. The message contains no values, because a value may be a
    password.
    """
    if not os.path.lexists(file):
        return
    valid_names = _COMPOSE_NAMES.union(settings)
    lines: dict[str, int] = {}
    problems = []
    for line, binding in _bindings(file):
        name = binding.key or ""
        if binding.error or not _NAME.fullmatch(name) or binding.value is None:
            problems.append(f"line {line} must look like NAME=value")
            continue
        name = name.upper()
        if name in lines:
            problems.append(f"{name} is set in line {lines[name]} and again in line {line}")
        elif name not in valid_names and not _is_foreign(name, valid_names) and name not in os.environ:
            problems.append(f"{name} in line {line} is no setting{_hint(name, valid_names)}")
        lines.setdefault(name, line)
        problems += [
            f"{name} in line {line} refers to ${{{variable}}}, which is not set; set it, or write $ without braces"
            for variable in _unset_variables(binding.value, lines)
        ]
    if problems:
        raise SettingsError(f"wrong setting in {file}: {'; '.join(problems)} (.env.example lists all settings)")


def check_environment(settings: Iterable[str]) -> None:
    """Raise a SettingsError that names every environment variable that looks like a misspelled setting.

    Checks only names with a prefix of the project's settings, because the variables of other programs are valid.
    """
    valid_names = _COMPOSE_NAMES.union(settings)
    problems = [
        f"{name} is no setting{_hint(name, valid_names)}"
        for name in sorted(os.environ)
        if name not in valid_names and (name.startswith(_RESERVED_PREFIX) or _is_misspelled(name, valid_names))
    ]
    if problems:
        raise SettingsError(
            f"wrong setting in the environment: {'; '.join(problems)} (.env.example lists all settings)"
        )


def _bindings(file: Path) -> Iterator[tuple[int, Binding]]:
    """Yield each assignment of the file with its line number. Raises SettingsError if the file cannot be read."""
    if not file.is_file():
        problem = "is a folder" if file.is_dir() else "is no file, or a link to nothing"
        raise SettingsError(f"wrong setting: {file} {problem}; replace it with a text file, or delete it")
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
    """Return the variables in ${...} that are not set and have no default."""
    names = [atom.name for atom in parse_variables(value) if isinstance(atom, Variable) and atom.default is None]
    return [name if _NAME.fullmatch(name) else "..." for name in names if name not in {*lines, *os.environ}]


def _is_foreign(name: str, valid_names: Iterable[str]) -> bool:
    if not name.startswith(_FOREIGN_PREFIXES):
        return False
    # PREFECT_SERVER_API_HOST is valid for Prefect. Its similarity to our PREFECT_SERVER_API_PORT is 0.913.
    return not get_close_matches(name, valid_names, n=1, cutoff=0.92)


def _is_misspelled(name: str, valid_names: Iterable[str]) -> bool:
    prefix = next((prefix for prefix in _SETTING_PREFIXES if name.startswith(prefix)), None)
    if prefix is None:
        return False
    suffixes = [setting.removeprefix(prefix) for setting in valid_names if setting.startswith(prefix)]
    return bool(get_close_matches(name.removeprefix(prefix), suffixes, n=1, cutoff=0.8))


def _hint(name: str, valid_names: Iterable[str]) -> str:
    matches = get_close_matches(name, valid_names, n=1, cutoff=0.7)
    if matches:
        return f", did you mean {matches[0]}?"
    return "" if name.startswith(_RESERVED_PREFIX) else "; if another program reads it, set it in the environment"
