"""The format of API keys, and the arguments of the command."""

from __future__ import annotations

import hashlib

import pytest

from serving.keys import ApiKey, main


def test_new_keys_are_parsed_and_unique() -> None:
    keys = [ApiKey.new() for _ in range(100)]
    assert all(ApiKey.read(key.text) == key for key in keys)
    assert len({key.key_id for key in keys}) == len({key.secret for key in keys}) == 100
    assert all(len(bytes.fromhex(key.secret)) * 8 == 256 for key in keys)


def test_stored_value_is_a_hash_and_repr_has_no_secret() -> None:
    key = ApiKey.new()
    assert key.secret_hash == hashlib.sha256(key.secret.encode()).digest()
    assert key.secret not in repr(key)


_KEY_ID, _SECRET = "a" * 12, "0" * 64


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0",
        "mm_",
        "mm__",
        f"mm_{_KEY_ID}_{_SECRET[1:]}",
        f"MM_{_KEY_ID}_{_SECRET}",
        f"mm_{_KEY_ID}_{_SECRET}\n",
        f" mm_{_KEY_ID}_{_SECRET}",
        f"mm_{'g' * 12}_{_SECRET}",
        f"mm_{_KEY_ID}_" + "\u0661" * 64,
    ],
)
def test_invalid_keys_are_not_parsed(text: str) -> None:
    assert ApiKey.read(text) is None


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["create"],
        ["create", "--name", "app"],
        ["create", "--name", "", "--scope", "metrics:read"],
        ["create", "--name", "a\nb", "--scope", "metrics:read"],
        ["create", "--name", "app", "--scope", "everything"],
        ["create", "--name", "app", "--scope", "metrics:read", "--days", "0"],
        ["revoke", "app"],
    ],
)
def test_wrong_arguments_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 2
    assert capsys.readouterr().err
