"""Names that may stand in `.env` and in the environment: a misspelled setting is an error, never ignored."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path

from dotenv.parser import Binding, parse_stream
from dotenv.variables import Variable, parse_variables

from core.errors import SettingsError

# Docker Compose and Prefect read `.env` too. `docker-compose.yml` names the passwords.
_PREFIXES_OF_OTHERS = ("COMPOSE_", "DOCKER_", "PREFECT_")
_COMPOSE_NAMES = frozenset(
    f"{name}_PASSWORD" for name in ("POSTGRES", "WAREHOUSE", "INGEST", "RECOMMENDER", "SERVING", "PREFECT")
)
# In a shell, a name that begins so and resembles a setting is taken for a misspelled setting.
_OUR_PREFIXES = (
    *("ALERT_", "BACKUPS_", "FETCH_", "MONITOR_", "MOOVITAMIX_", "PUBLICATIONS_"),
    *("RECOMMENDATIONS_", "RECOMMENDER_", "RETRAIN_", "SERVING_"),
)
# In a shell, every name that begins so is a setting of ours.
_OUR_OWN_PREFIX = "THRESHOLD_"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,80}")


def check_env_file(file: Path, settings: Iterable[str]) -> None:
    """Raises SettingsError that names every line of the file that cannot be used. A missing file is fine.

    `settings` are the names of all settings, in upper case. A message never holds a value: it may be a password.
    """
    if not os.path.lexists(file):
        return
    known = _COMPOSE_NAMES.union(settings)
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
        elif name not in known and not _is_read_by_others(name, known) and name not in os.environ:
            wrong.append(f"{name} in line {line} is no setting{_suggestion(name, known)}")
        lines.setdefault(name, line)
        wrong += [
            f"{name} in line {line} refers to ${{{variable}}}, which is not set; write $ outside of braces, or set it"
            for variable in _unset_variables(binding.value, lines)
        ]
    if wrong:
        raise SettingsError(f"wrong setting in {file}: {'; '.join(wrong)} (.env.example lists all settings)")


def check_environment(settings: Iterable[str]) -> None:
    """Raises SettingsError that names every environment variable that is a misspelled setting of ours.

    The names of other programs are in the environment too, so only those that begin as ours do are looked at.
    """
    known = _COMPOSE_NAMES.union(settings)
    wrong = [
        f"{name} is no setting{_suggestion(name, known)}"
        for name in sorted(os.environ)
        if name not in known and (name.startswith(_OUR_OWN_PREFIX) or _is_misspelled(name, known))
    ]
    if wrong:
        raise SettingsError(f"wrong setting in the environment: {'; '.join(wrong)} (.env.example lists all settings)")


def _bindings(file: Path) -> Iterator[tuple[int, Binding]]:
    """Each assignment with the number of its line."""
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "is no file, or a link to nothing"
        raise SettingsError(f"wrong setting: {file} {what}; settings are read from a text file")
    try:
        with file.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except OSError as error:
        raise SettingsError(f"wrong setting: {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"wrong setting: {file} is no UTF-8 text; save it as UTF-8") from None
    for binding in bindings:
        text = binding.original.string
        blank_lines = len(re.findall(r"\r\n|\r|\n", text[: len(text) - len(text.lstrip())]))
        if binding.key is not None or binding.error:
            yield binding.original.line + blank_lines, binding


def _unset_variables(value: str, lines: Iterable[str]) -> list[str]:
    """Names in ${...} without a default that would silently become nothing."""
    names = [atom.name for atom in parse_variables(value) if isinstance(atom, Variable) and atom.default is None]
    return [name if _NAME.fullmatch(name) else "..." for name in names if name not in {*lines, *os.environ}]


def _is_read_by_others(name: str, known: Iterable[str]) -> bool:
    if not name.startswith(_PREFIXES_OF_OTHERS):
        return False
    return not get_close_matches(name, known, n=1, cutoff=0.92)  # PREFECT_SERVER_API_HOST is Prefect's: 0.913


def _is_misspelled(name: str, known: Iterable[str]) -> bool:
    prefix = next((prefix for prefix in _OUR_PREFIXES if name.startswith(prefix)), None)
    if prefix is None:
        return False
    rests = [setting.removeprefix(prefix) for setting in known if setting.startswith(prefix)]
    return bool(get_close_matches(name.removeprefix(prefix), rests, n=1, cutoff=0.8))


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, known, n=1, cutoff=0.7)
    if close:
        return f", did you mean {close[0]}?"
    return "" if name.startswith(_OUR_OWN_PREFIX) else "; if another program reads it, set it in the environment"
