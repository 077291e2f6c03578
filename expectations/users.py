"""Users: what a staged user must be like, and what is worth a look. No rule here may carry a value into a report."""

from __future__ import annotations

from great_expectations import expectations as gxe
from great_expectations.expectations.expectation import Expectation

from core.endpoints import USERS
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


def rows(thresholds: Thresholds, profile_table: str) -> list[Expectation]:
    """Rules over the staged users. Shared e-mails, and created_at after updated_at, are normal at the source."""
    return [
        *dimension_rules(USERS, thresholds, profile_table, must_say=("email", "favorite_genres")),
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
            "a gender is one of those seen before",
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


def profile(thresholds: Thresholds) -> list[Expectation]:
    """Rules over the batch as a whole."""
    return batch_rules(thresholds)
