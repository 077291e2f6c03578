"""Databases with plays, and settings for fast runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from flows import retrain
from tests.conftest import Query, temporary_database, url_of_database
from tests.ingest_runs import open_query
from tests.publications import quick_candidates, quick_settings
from tests.warehouse_data import WarehouseData, fill_warehouse, random_tastes, two_taste_groups


@dataclass(frozen=True)
class FilledDatabase:
    """A template database, its data, and its data folder."""

    name: str
    world: WarehouseData
    data_dir: Path


@contextmanager
def filled_database(
    postgres: str, empty: str, name: str, world: WarehouseData, data_dir: Path
) -> Iterator[FilledDatabase]:
    with psycopg.connect(postgres, autocommit=True) as connection:
        names = sql.Identifier(name), sql.Identifier(empty)
        connection.execute(sql.SQL("create database {} template {}").format(*names))
        if not data_dir.exists():
            data_dir.mkdir()
            fill_warehouse(url_of_database(postgres, name), world)
        yield FilledDatabase(name, world, data_dir)
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def taste_groups(postgres: str, _template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FilledDatabase]:
    """Two taste groups, before the first training."""
    folder = tmp_path_factory.mktemp("taste_groups") / "data"
    with filled_database(postgres, _template, "two_camps", two_taste_groups(), folder) as filled:
        yield filled


@pytest.fixture(scope="session")
def no_taste(postgres: str, _template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FilledDatabase]:
    """Users without tastes."""
    folder = tmp_path_factory.mktemp("no_taste") / "data"
    with filled_database(postgres, _template, "no_taste", random_tastes(), folder) as filled:
        yield filled


@pytest.fixture(scope="session")
def trained_groups(
    taste_groups: FilledDatabase, prefect_server: None, postgres: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FilledDatabase]:
    """Two taste groups after the first training: publication 1 is live."""
    folder = tmp_path_factory.mktemp("trained") / "data"
    folder.mkdir()
    with filled_database(postgres, taste_groups.name, "trained_groups", taste_groups.world, folder) as filled:
        with pytest.MonkeyPatch.context() as patch, quick_candidates():
            for name, value in quick_settings(url_of_database(postgres, filled.name), folder).items():
                patch.setenv(name, value)
            assert retrain.main([]) == 0
        yield filled


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Remove settings of the machine, and use few candidates."""
    for name in [name for name in os.environ if name.startswith(("THRESHOLD_", "RETRAIN_", "MOOVITAMIX_"))]:
        monkeypatch.delenv(name)
    with quick_candidates():
        yield


@pytest.fixture
def data_dir(database: str, no_settings: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a test, with settings for its own database and short recommendation lists."""
    for name, value in quick_settings(database, tmp_path / "data").items():
        monkeypatch.setenv(name, value)
    return tmp_path / "data"


@dataclass(frozen=True)
class DatabaseCopy:
    """A database of a test, with its data, data folder and settings."""

    database: str
    world: WarehouseData
    data_dir: Path
    query: Query


UseDatabase = Callable[[FilledDatabase], DatabaseCopy]


@pytest.fixture
def use(
    postgres: str, prefect_server: None, no_settings: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[UseDatabase]:
    """Copy a template database and its data folder, and point the settings to the copies."""
    with ExitStack() as at_end:

        def copied(filled: FilledDatabase) -> DatabaseCopy:
            database = at_end.enter_context(temporary_database(postgres, filled.name))
            folder = tmp_path / database.partition("?")[0].rpartition("/")[2]
            shutil.copytree(filled.data_dir, folder)
            for name, value in quick_settings(database, folder).items():
                monkeypatch.setenv(name, value)
            query = at_end.enter_context(open_query(database))
            return DatabaseCopy(database, filled.world, folder, query)

        yield copied
