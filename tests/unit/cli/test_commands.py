"""The commands of `moovitamix`: help, and the arguments that they pass on."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App
from cyclopts.exceptions import CycloptsError, MissingArgumentError

from cli import commands
from cli.__main__ import main
from cli.commands import app
from cli.modules import command_line

ROOT = Path(__file__).parent.parent.parent.parent
NAMES = (
    *("ingest", "monitor", "recommend", "retrain", "rollback", "replay", "erase", "maintain", "evaluate", "keys"),
    *("alerts", "health", "mock", "stream", "up", "down", "status", "psql", "backup", "restore", "migrate", "doctor"),
)
# The module of each command, and the subcommand of `python -m <module>`, if it has any.
MODULES = {
    "ingest": ("flows.ingest", ()),
    "monitor": ("flows.monitor", ()),
    "recommend": ("flows.recommend", ()),
    "retrain": ("flows.retrain", ()),
    "rollback": ("flows.rollback", ()),
    "experiment start": ("flows.experiment", ("start",)),
    "experiment stop": ("flows.experiment", ("stop",)),
    "experiment status": ("flows.experiment", ("status",)),
    "replay": ("flows.replay", ()),
    "erase": ("flows.erase", ()),
    "maintain": ("flows.maintain", ()),
    "evaluate": ("recommender.evaluate", ()),
    "keys create": ("serving.keys", ("create",)),
    "keys list": ("serving.keys", ("list",)),
    "keys revoke": ("serving.keys", ("revoke",)),
    "alerts test": ("notifications.send_test", ()),
    "alerts watch": ("notifications.watchdog", ()),
    "health": ("serving.dashboard.__main__", ()),
    "mock": ("mock_server.__main__", ()),
    "mock play": ("mock_server.play", ()),
    "compute scheduler": ("compute.scheduler", ()),
    "compute worker": ("compute.worker", ()),
    "compute certificates": ("compute.certificates", ()),
    "stream": ("streaming.__main__", ()),
    "stream status": ("cli.stream_status", ()),
    "stream audit": ("cli.stream_audit", ()),
    "confirm": ("cli.confirm_figure", ()),
    "contract-changes": ("cli.contract_changes", ()),
    "stream replay": ("cli.stream_replay", ()),
    "psql": ("cli.psql", ()),
    "backup": ("services.backup", ("make",)),
    "restore": ("services.backup", ("restore",)),
    "verify": ("services.backup", ("verify",)),
    "migrate": ("core.migrate", ()),
    "doctor": ("cli.doctor", ()),
}


def _leaves(parent: App = app, path: tuple[str, ...] = ()) -> Iterator[tuple[str, App]]:
    """Yield each command that runs a module, with its words."""
    for name in parent:
        if name.startswith("-"):
            continue
        child = parent[name]
        if child.default_command is not None:
            yield " ".join((*path, name)), child
        yield from _leaves(child, (*path, name))


LEAVES = dict(_leaves())


class Ran(Exception):
    """Raised in place of running a module, with its arguments."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Record modules and arguments instead of running them."""
    calls: list[list[str]] = []

    def run_module(module: str, *positionals: object, **options: object) -> int:
        calls.append([module, *command_line(positionals, options)])
        return 0

    monkeypatch.setattr(commands, "run_module", run_module)
    return calls


def _help(words: str) -> str:
    output = StringIO()
    with redirect_stdout(output):
        assert main([*words.split(), "--help"]) == 0
    return output.getvalue()


def test_tool_has_every_command() -> None:
    assert set(NAMES) <= {name for name in app if not name.startswith("-")}


def test_help_lists_each_command_with_one_sentence() -> None:
    shown = " ".join(re.sub("[╭╮╰╯─│]", " ", _help("")).split())
    for name in app:
        if not name.startswith("-"):
            assert app[name].help.endswith("."), name
            assert f"{name} {app[name].help}" in shown


@pytest.mark.parametrize("words", LEAVES)
def test_help_of_each_command_has_a_valid_example(words: str, run: list[list[str]]) -> None:
    epilogue = LEAVES[words].help_epilogue
    assert epilogue is not None
    example = re.findall(r"^    (moovitamix .*)$", epilogue, re.M)
    assert len(example) == 1
    assert example[0] in " ".join(_help(words).split())
    assert main(shlex.split(example[0])[1:]) == 0
    assert len(run) == 1
    assert example[0].split()[1 : 1 + len(words.split())] == words.split()


def _parser(words: str) -> argparse.ArgumentParser:
    """Return the parser of the module of a command."""
    parsers: list[argparse.ArgumentParser] = []

    def parse_args(parser: argparse.ArgumentParser, *_: Any) -> None:
        parsers.append(parser)
        raise Ran

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        with pytest.raises(Ran):
            importlib.import_module(MODULES[words][0]).main()
    (parser,) = parsers
    return parser


def _subparser(words: str) -> argparse.ArgumentParser:
    """Return the parser of the subcommand of a command, if it has any."""
    parser = _parser(words)
    for name in MODULES[words][1]:
        (action,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        parser = action.choices[name]
    return parser


@pytest.mark.parametrize("words", MODULES)
def test_module_accepts_the_arguments_of_the_example(words: str, run: list[list[str]]) -> None:
    epilogue = LEAVES[words].help_epilogue
    assert epilogue is not None
    (example,) = re.findall(r"^    moovitamix (.*)$", epilogue, re.M)
    assert main(shlex.split(example)) == 0
    _parser(words).parse_args(run[0][1:])  # exits if it refuses an argument


@pytest.mark.parametrize("words", MODULES)
def test_command_has_the_arguments_of_its_module(words: str) -> None:
    arguments = {argument.names[0]: argument for argument in LEAVES[words].assemble_argument_collection()}
    actions = {
        (action.option_strings[0] if action.option_strings else action.dest.upper()): action
        for action in _subparser(words)._actions
        if not isinstance(action, argparse._HelpAction)
    }
    assert set(arguments) == set(actions)
    for name, action in actions.items():
        argument = arguments[name]
        positional_required = not action.option_strings and action.nargs is None
        assert argument.required == (action.required if action.option_strings else positional_required), name
        choices = argument.get_choices()
        assert (list(choices) if choices else None) == (list(action.choices) if action.choices else None), name
        default = argument.field_info.default
        if not argument.required and action.default not in (None, [], ""):
            assert default == action.default, name


@pytest.mark.parametrize("words", sorted(set(LEAVES) - set(MODULES)))
def test_other_commands_are_those_of_the_services(words: str) -> None:
    assert words in ("up", "down", "status")


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        ("ingest", ["flows.ingest"]),
        (
            "ingest --endpoint users --endpoint tracks --refresh",
            ["flows.ingest", "--endpoint=users", "--endpoint=tracks", "--refresh"],
        ),
        ("retrain --seed 4294967295", ["flows.retrain", "--seed=4294967295"]),
        ("monitor --json", ["flows.monitor", "--json"]),
        ("erase --again", ["flows.erase", "--again"]),
        ("erase 7 --allow-again", ["flows.erase", "7", "--allow-again"]),
        ("erase --allow-again -- -7", ["flows.erase", "--allow-again", "--", "-7"]),
        ("keys create --name a --scope metrics:read", ["serving.keys", "create", "--name=a", "--scope=metrics:read"]),
        ("replay t --by=x --accept=--why", ["flows.replay", "t", "--accept=--why", "--by=x"]),
        ("rollback", ["flows.rollback", "--why=rolled back by hand"]),
        ("psql --owner", ["cli.psql", "--owner"]),
        ("mock --fault a=1 --fault b=2", ["mock_server", "--fault=a=1", "--fault=b=2"]),
        ("backup x.tar", ["services.backup", "make", str(Path("x.tar").absolute())]),
        ("evaluate --train a --test b --model als ease", ["recommender.evaluate", "--model=als", "--model=ease"]),
    ],
)  # fmt: skip
def test_arguments_reach_the_module(line: str, arguments: list[str], run: list[list[str]]) -> None:
    assert main(line.split()) == 0
    (call,) = run
    assert [argument for argument in call if argument in arguments] == arguments


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ingest --day 20261122", "--day. '20261122' is not a day of the form YYYY-MM-DD"),
        ("ingest --endpoint artists", 'Choose from: "tracks", "users", "listen_history"'),
        ("ingest --days 3", "--day"),
        ("retrain --seed -1", "Must be >= 0"),
        ("retrain --as-of yesterday", "is not a time of the form YYYY-MM-DD[THH:MM]"),
        ("rollback 0", "Must be >= 1"),
        ("replay", "BATCH_ID requires an argument"),
        ("maintain --retention-days 0", "Must be >= 1"),
        ("keys create --name app", "--scope requires an argument"),
        ("injest", 'Did you mean "ingest"?'),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    line: str, message: str, run: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    assert message in error
    assert run == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_contains_every_command(shell: Any) -> None:
    script = app.generate_completion(shell=shell)
    assert all(name.lstrip("-") in script for name in app)


def test_help_imports_neither_a_flow_nor_the_database() -> None:
    code = "import sys; from cli.__main__ import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(result.stderr.split()) & {"prefect", "psycopg", "pydantic", "polars", "numpy", "flows", "services"}


def _documented_commands() -> list[str]:
    """Each command line of `moovitamix` in the documentation, with values in place of placeholders."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(page.read_text() for page in pages)
    for placeholder, value in {"<day>": "2026-11-22", "<batch id>": "tracks-2026-11-22", '"$USER_ID"': "5"}.items():
        text = text.replace(placeholder, value)
    lines = re.findall(r"^ *(?:\.venv/bin/)?moovitamix ([a-z][^&|;<$\n]*)", text, re.M)
    inline = re.findall(r"`(?:\.venv/bin/)?moovitamix ([a-z][^`<]*)", text)
    return sorted({" ".join(command.split()) for command in lines + inline})


def test_documented_commands_are_accepted() -> None:
    """A command without its arguments is a mention."""
    refused = []
    for command in _documented_commands():
        try:
            app.parse_args(shlex.split(command, comments=True), exit_on_error=False, print_error=False)
        except MissingArgumentError:
            continue
        except CycloptsError as error:
            refused.append((command, str(error)))
    assert refused == []
