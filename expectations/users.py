"""The suite of users. No rule here may put a value of a row into a report."""

from __future__ import annotations

from core.endpoints import USERS
from expectations.gx import Expectation, gxe
from expectations.profile import batch_rules
from expectations.rules import dimension_rules, rule
from expectations.thresholds import Thresholds

GENRES = (
    "Alternative", "Blues", "Classical", "Country", "Electronic", "Folk", "Funk", "Hip Hop", "Indie", "Jazz", "Metal",
    "Pop", "Punk", "R&B", "Reggae", "Rock", "Techno",
)  # fmt: skip
GENDERS = (
    "Agender", "Bigender", "Female", "Gender nonconforming", "Gender questioning", "Genderfluid", "Genderqueer", "Male",
    "Non-binary", "Other", "Polygender", "Two-spirit",
)  # fmt: skip


def row_expectations(thresholds: Thresholds, profile_table: str) -> list[Expectation]:
    """Rules over the staged users. Two users may share an e-mail, and created_at may be later than updated_at."""
    return [
        *dimension_rules(USERS, thresholds, profile_table, required_texts=("email", "favorite_genres")),
        rule(
            gxe.ExpectColumnValuesToMatchRegex,
            "email_has_an_at",
            "warning",
            "an e-mail has an @ with something on both sides",
            column="email",
            regex=r"^[^@[:space:]]+@[^@[:space:]]+$",
        ),
        rule(
            gxe.ExpectColumnValuesToBeInSet,
            "gender_is_known",
            "warning",
            "a gender is one of the known genders",
            column="gender",
            value_set=list(GENDERS),
        ),
        rule(
            gxe.ExpectColumnValuesToBeInSet,
            "favorite_genre_is_known",
            "warning",
            "a favourite genre is one of the API's 17",
            column="favorite_genres",
            value_set=list(GENRES),
        ),
    ]


def profile_expectations(thresholds: Thresholds) -> list[Expectation]:
    """Rules over the batch as a whole."""
    return batch_rules(thresholds)
