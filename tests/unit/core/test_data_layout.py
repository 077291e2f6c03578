from __future__ import annotations

from pathlib import Path

from core.data_layout import DEMOS, DataLayout
from services.__main__ import _is_data_dir


def _paths(layout: DataLayout) -> dict[str, Path]:
    properties = [name for name, member in vars(DataLayout).items() if isinstance(member, property)]
    paths = {name: getattr(layout, name) for name in properties}
    return {name: path for name, path in paths.items() if isinstance(path, Path)}


def test_every_path_is_in_an_entry_of_data_dir(tmp_path: Path) -> None:
    layout = DataLayout(tmp_path)
    paths = [*_paths(layout).values(), layout.log("worker"), *map(layout.demo, DEMOS)]
    assert len(paths) == len(set(paths)) > 20
    for path in paths:
        assert tmp_path / path.relative_to(tmp_path).parts[0] in layout.entries
    assert set(layout.written_folders) < set(layout.entries)


def test_looking_up_a_path_creates_nothing(tmp_path: Path) -> None:
    assert _paths(DataLayout(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_folder_with_foreign_files_is_not_a_data_dir(tmp_path: Path) -> None:
    assert _is_data_dir(tmp_path)
    for path in DataLayout(tmp_path).entries:
        path.mkdir()
    assert _is_data_dir(tmp_path)
    (tmp_path / "thesis.odt").touch()
    assert not _is_data_dir(tmp_path)
    assert not _is_data_dir(Path.home())


def test_names_of_folders_stay(tmp_path: Path) -> None:
    """Backups, runbooks and installations refer to these names."""
    assert {path.name for path in DataLayout(tmp_path).entries} == {
        *(
            "alerts",
            "backups",
            "cluster",
            "data_docs",
            "demo",
            "landing",
            "logs",
            "models",
            "postgres",
            "postgres.lock",
        ),
        *("postgres.new", "postgres.users", "prefect", "services", "shaped", "tmp", "verification", "weeks"),
    }
