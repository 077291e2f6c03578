"""The file stores that the settings choose: folders of DATA_DIR, or object stores."""

from __future__ import annotations

from pathlib import Path

from core.data_layout import DataLayout
from core.file_store import FileStore, FolderStore
from core.object_store import ObjectStore, ObjectStoreOptions
from core.settings import Settings

# A request is not signed again when it is repeated, and a signature is valid for a few minutes.
_LONGEST_RETRY_SECONDS = 240


def landing_store(settings: Settings) -> FileStore:
    """The raw pages of batches: LANDING_URL, or DATA_DIR/landing."""
    return _store(settings, settings.landing_url, DataLayout(settings.data_dir).landing, private=True)


def model_store(settings: Settings) -> FileStore:
    """The files of trained models: MODELS_URL, or DATA_DIR/models."""
    return _store(settings, settings.models_url, DataLayout(settings.data_dir).models)


def backup_store(settings: Settings) -> FileStore:
    """Backups, and the copy of the suppression list: BACKUPS_URL, or DATA_DIR/backups."""
    return _store(settings, settings.backups_url, DataLayout(settings.data_dir).backups, private=True)


def docs_store(settings: Settings) -> FileStore:
    """Data Docs: DATA_DOCS_URL, or DATA_DIR/data_docs."""
    return _store(settings, settings.data_docs_url, DataLayout(settings.data_dir).data_docs)


def object_stores(settings: Settings) -> dict[str, FileStore]:
    """The object stores in use, by the setting of each."""
    stores = {
        "LANDING_URL": (settings.landing_url, landing_store),
        "MODELS_URL": (settings.models_url, model_store),
        "BACKUPS_URL": (settings.backups_url, backup_store),
        "DATA_DOCS_URL": (settings.data_docs_url, docs_store),
    }
    return {name: store(settings) for name, (url, store) in stores.items() if url}


def _store(settings: Settings, url: str, folder: Path, *, private: bool = False) -> FileStore:
    return ObjectStore(url, object_store_options(settings)) if url else FolderStore(folder, private)


def object_store_options(settings: Settings) -> ObjectStoreOptions:
    """How to reach an object store, with the time limits of all other requests."""
    return ObjectStoreOptions(
        access_key_id=settings.aws_access_key_id,
        secret_access_key=settings.aws_secret_access_key,
        session_token=settings.aws_session_token,
        region=settings.aws_region,
        endpoint=settings.aws_endpoint_url,
        allow_http=settings.aws_allow_http,
        connect_seconds=settings.connect_timeout_seconds,
        read_seconds=settings.read_timeout_seconds,
        retry_seconds=min(settings.give_up_after_seconds, _LONGEST_RETRY_SECONDS),
    )
