from __future__ import annotations

import pytest

from core.errors import AlreadyRunning, MoovitamixError, SettingsError, UnknownBatch, UsageError
from core.exit_codes import exit_code_and_message, print_error, returns_exit_code

STOPPED = "stopped; run it again to go on"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (MoovitamixError("no"), 1, "error: no"),
        (AlreadyRunning("busy"), 1, "error: busy"),
        (SettingsError("wrong setting"), 2, "error: wrong setting"),
        (UsageError("no such file"), 2, "error: no such file"),
        (UnknownBatch("no such batch"), 2, "error: no such batch"),
        (KeyboardInterrupt(), 130, STOPPED),
    ],
)
def test_an_error_has_one_exit_code_and_one_line(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_and_message(error) == (code, message)
    assert print_error(error) == code
    assert capsys.readouterr() == ("", f"{message}\n")

    @returns_exit_code
    def main() -> int:
        raise error

    assert main() == code
    assert capsys.readouterr() == ("", f"{message}\n")


def test_a_defect_is_a_failure_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    code, message = exit_code_and_message(ValueError("secret"))
    assert code == 1
    assert message.startswith("error: unexpected ValueError")
    assert "secret" not in message

    @returns_exit_code
    def main() -> int:
        raise ValueError("secret")

    with pytest.raises(ValueError, match="secret"):  # run_main records it
        main()


def test_exceptions_that_end_the_process_are_not_caught() -> None:
    with pytest.raises(SystemExit):
        exit_code_and_message(SystemExit(3))


@pytest.mark.parametrize(("result", "code"), [(0, 0), (1, 1), (None, 0)])
def test_a_result_is_the_exit_code(result: int | None, code: int) -> None:
    def main(first: int, *, second: int) -> int | None:
        assert (first, second) == (1, 2)
        return result

    assert returns_exit_code(main)(1, second=2) == code
