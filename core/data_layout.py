"""Paths of files and folders below DATA_DIR. The module that fills a folder documents the other files in it.

This module only computes paths. It creates, reads and deletes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DataLayout:
    """The files and folders below one DATA_DIR."""

    data_dir: Path

    @property
    def postgres(self) -> Path:
        """The data folder of embedded Postgres."""
        return self.data_dir / "postgres"

    @property
    def postgres_version(self) -> Path:
        """Exists when the data folder of embedded Postgres is complete."""
        return self.postgres / "PG_VERSION"

    @property
    def postgres_log(self) -> Path:
        """The log of embedded Postgres."""
        return self.postgres / "log"

    @property
    def new_postgres(self) -> Path:
        """The data folder of embedded Postgres while `initdb` fills it."""
        return self.data_dir / "postgres.new"

    @property
    def postgres_lock(self) -> Path:
        """The process that starts or stops embedded Postgres holds an exclusive lock on this file."""
        return self.data_dir / "postgres.lock"

    @property
    def postgres_users(self) -> Path:
        """Each process that uses embedded Postgres holds a shared lock on this file."""
        return self.data_dir / "postgres.users"

    @property
    def landing(self) -> Path:
        """Raw pages, in a folder for each endpoint and batch."""
        return self.data_dir / "landing"

    @property
    def shaped(self) -> Path:
        """Transformed rows of the batches that are being staged, in a folder for each batch."""
        return self.data_dir / "shaped"

    @property
    def data_docs(self) -> Path:
        """Data Docs: the HTML pages of audit results."""
        return self.data_dir / "data_docs"

    @property
    def models(self) -> Path:
        """The files of trained models."""
        return self.data_dir / "models"

    @property
    def backups(self) -> Path:
        """Backups, and the copy of the suppression list."""
        return self.data_dir / "backups"

    @property
    def restored_models(self) -> Path:
        """Holds model files from a backup until the restored database is in place."""
        return self.backups / ".restored-models"

    @property
    def verification(self) -> Path:
        """The temporary Postgres server into which a backup is restored to verify it."""
        return self.data_dir / "verification"

    @property
    def notifications(self) -> Path:
        """The state of notifications: open incidents, outbox, and defects of delivery."""
        return self.data_dir / "alerts"

    @property
    def open_incidents(self) -> Path:
        """The open incidents, for people and the health page."""
        return self.notifications / "open.json"

    @property
    def closed_incidents(self) -> Path:
        """The last incidents that were closed, for the console."""
        return self.notifications / "closed.json"

    @property
    def notification_defect(self) -> Path:
        """The newest defect of the notification path, for the health page."""
        return self.notifications / "defect.json"

    @property
    def watchdog_check(self) -> Path:
        """The watchdog updates the modification time of this file at each check."""
        return self.notifications / "looked"

    @property
    def logs(self) -> Path:
        """Logs of services, demos and unexpected errors."""
        return self.data_dir / "logs"

    def log(self, name: str) -> Path:
        """The log of a service or command."""
        return self.logs / f"{name}.log"

    @property
    def prefect(self) -> Path:
        """The default of PREFECT_HOME."""
        return self.data_dir / "prefect"

    @property
    def prefect_database(self) -> Path:
        """The database of the Prefect server of the local services."""
        return self.prefect / "server.db"

    @property
    def prefect_ui(self) -> Path:
        """The static files of Prefect's UI. The Prefect server copies them here and serves them."""
        return self.prefect / "ui"

    @property
    def services(self) -> Path:
        """The files of the supervisor of the local services."""
        return self.data_dir / "services"

    @property
    def mock_base_day(self) -> Path:
        """The base day of the mock API of the local services."""
        return self.services / "mock_base_day"

    @property
    def mock_plays(self) -> Path:
        """Sessions that were added to the mock API while it ran."""
        return self.services / "mock_plays.jsonl"

    @property
    def temporary_files(self) -> Path:
        """TMPDIR of all processes of the project."""
        return self.data_dir / "tmp"

    @property
    def worker_storage(self) -> Path:
        """Temporary files of Prefect's workers. A killed worker does not delete them."""
        return self.temporary_files / "runner_storage"

    def demo(self, name: str) -> Path:
        """The separate DATA_DIR of a demo."""
        return self.data_dir / name

    @property
    def written_folders(self) -> tuple[Path, ...]:
        """The folders that every user of this DATA_DIR must be able to write to."""
        return (
            *(self.notifications, self.backups, self.data_docs, self.landing, self.logs, self.models),
            *(self.prefect, self.services, self.shaped, self.temporary_files),
        )

    @property
    def entries(self) -> tuple[Path, ...]:
        """Everything that the project creates directly in DATA_DIR. Other entries may exist, such as `lost+found`."""
        postgres = (self.postgres, self.new_postgres, self.postgres_lock, self.postgres_users)
        return (*self.written_folders, *postgres, self.verification, *map(self.demo, DEMOS))


DEMOS = ("demo", "weeks", "cluster")
