"""What is wrong with a field or a body, in words for the client. No text repeats a value that was sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

MIN_ID, MAX_ID = -(2**63), 2**63 - 1
_MAX_NAME_LENGTH = 50
_ANY_INTEGER = f"must be an integer from {MIN_ID:,} to {MAX_ID:,}"
_TIME = "must be a time with an offset, like 2026-01-31T08:15:00Z"
_MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "string_unicode": "has text that is not valid Unicode",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be an integer",
    "int_parsing": "must be an integer",
    "int_from_float": "must be an integer",
    "int_parsing_size": "has too many digits",
    "list_type": "must be a list",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "timezone_aware": _TIME,
}


def field_error(error: Mapping[str, Any]) -> dict[str, str]:
    """The path of a field, such as `body.impressions.400.rank`, and the reason, from an error of Pydantic."""
    return {"field": ".".join(field_name(part) for part in error["loc"]), "message": _message(error)}


def field_name(part: str | int) -> str:
    """The name or index of a field, as short text that UTF-8 can encode."""
    return str(part)[:_MAX_NAME_LENGTH].encode(errors="replace").decode()


def invalid_json(body: object, error: Mapping[str, Any]) -> str:
    """The reason why a body is not JSON, and the position, from FastAPI's error of the type `json_invalid`."""
    text, position = str(body), int(error["loc"][1])
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    reason = _lower_first(error["ctx"]["error"]).removesuffix(" at")  # as in "invalid control character at"
    return f"the body is not JSON: {reason} at line {line}, column {column}"


def unreadable_body(error: Exception) -> str:
    """The reason why a body cannot be parsed, from the cause of the error."""
    cause = error.__cause__
    if isinstance(cause, UnicodeDecodeError):
        return f"the body is not valid UTF-8 at byte {cause.start}"
    if isinstance(cause, RecursionError):
        return "the body is nested too deeply"
    return "the body cannot be parsed"


def _message(error: Mapping[str, Any]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in _MESSAGES:
        return _MESSAGES[kind]
    if kind in _MESSAGES_WITH_LIMITS:
        return _MESSAGES_WITH_LIMITS[kind](context)
    if kind.startswith("datetime_"):
        return _TIME
    if kind == "string_pattern_mismatch":
        is_cursor = error["loc"][-1] == "cursor"
        return "must be the next_cursor of an earlier response" if is_cursor else "must have no control characters"
    text = str(error["msg"]).removeprefix("Value error, ")
    return _lower_first(text).replace("input should be", "must be")


def _lower_first(text: str) -> str:
    return text if text[:2].isupper() else text[:1].lower() + text[1:]


def _count(number: int, unit: str) -> str:
    return f"{number:,} {unit}" if number == 1 else f"{number:,} {unit}s"


def _at_least(context: Mapping[str, Any]) -> str:
    return _ANY_INTEGER if context["ge"] == MIN_ID else f"must be at least {context['ge']:,}"


def _at_most(context: Mapping[str, Any]) -> str:
    return _ANY_INTEGER if context["le"] == MAX_ID else f"must be at most {context['le']:,}"


_MESSAGES_WITH_LIMITS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than_equal": _at_least,
    "less_than_equal": _at_most,
    "too_short": lambda context: f"must have at least {_count(context['min_length'], 'item')}",
    "too_long": lambda context: f"must have at most {_count(context['max_length'], 'item')}",
    "string_too_short": lambda context: f"must have at least {_count(context['min_length'], 'character')}",
    "string_too_long": lambda context: f"must have at most {_count(context['max_length'], 'character')}",
    "literal_error": lambda context: f"must be {context['expected']}",
}
