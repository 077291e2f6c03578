"""A file store in an object store: S3 or a server with its protocol, Google Cloud Storage, or Azure.

The library `obstore` sends the requests. It repeats requests that fail or time out, and takes proxies from the
environment. A write is atomic, and durable once it returns.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from core.errors import ObjectStoreError, ObjectStoreUnavailable
from core.file_store import FileStore, StoredFile

# A request ends after this time, even while bytes arrive. Large files are written in many requests.
_LONGEST_REQUEST = timedelta(hours=6)
_CHUNK = 8 << 20
_STATUS = re.compile(r"status code: (\d{3})[^:]*")
_CODE = re.compile(r"<Code>(\w+)</Code>")
# Parts of the library's text, and what they mean.
_CAUSES = {
    "InvalidCertificate": "its certificate is not trusted; set SSL_CERT_FILE",
    "failed to lookup address": "its host is unknown",
    "ConnectionRefused": "it refuses the connection",
}
# Addresses at which a machine of a cloud gets credentials. They are asked only if the environment has none.
_INSTANCE_METADATA = re.compile(r"169\.254\.169\.254|metadata\.google\.internal")
# What the environment needs for each kind of store.
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_NO_BUCKET = re.compile("NoSuchBucket|ContainerNotFound")

_EMPTY = SecretStr("")


@dataclass(frozen=True)
class ObjectStoreOptions:
    """How to reach an object store. Credentials that are empty are taken from the environment of the process.

    Times are in seconds. `retry_seconds` is for all attempts of a request together.
    """

    access_key_id: SecretStr = _EMPTY
    secret_access_key: SecretStr = _EMPTY
    session_token: SecretStr = _EMPTY
    region: str = ""
    endpoint: str = ""
    allow_http: bool = False
    connect_seconds: float = 5
    read_seconds: float = 20
    retry_seconds: float = 60


@dataclass(frozen=True)
class ObjectStore(FileStore):
    """The objects whose names begin with the path of a URL such as `s3://bucket/path`."""

    url: str
    options: ObjectStoreOptions

    @property
    def location(self) -> str:
        return self.url.rstrip("/")

    def link_to(self, name: str) -> str:
        return self.location_of(name)

    def read(self, name: str) -> bytes:
        with self._readable_errors(name):
            return bytes(self._client.get(name).bytes())

    def exists(self, name: str) -> bool:
        try:
            with self._readable_errors(name):
                self._client.head(name)
        except FileNotFoundError:
            return False
        return True

    def write(self, name: str, content: bytes | str, *, durable: bool = False) -> None:
        with self._readable_errors(name):
            self._client.put(name, content.encode() if isinstance(content, str) else content)

    def delete(self, name: str) -> None:
        with self._readable_errors(name), suppress(FileNotFoundError):
            self._client.delete(name)

    def delete_folder(self, name: str) -> None:
        names = [file.name for file in self.files(name)]
        if names:
            with self._readable_errors(name), suppress(FileNotFoundError):
                self._client.delete(names)

    def files(self, folder: str = "") -> list[StoredFile]:
        with self._readable_errors(folder):
            pages = list(self._client.list(f"{folder}/" if folder else None))
        stored = [
            StoredFile(item["path"], item["size"], item["last_modified"], str(item["e_tag"]))
            for page in pages
            for item in page
            if not any(part.startswith(".") for part in item["path"].split("/"))
        ]
        return sorted(stored, key=lambda file: file.name)

    def folders(self, depth: int) -> dict[str, datetime]:
        changed: dict[str, datetime] = {}
        for file in self.files():
            parts = file.name.split("/")
            if len(parts) > depth:
                folder = "/".join(parts[:depth])
                changed[folder] = max(file.modified_at, changed.get(folder, file.modified_at))
        return changed

    def delete_unfinished(self, folder: str = "", older_than: float = math.inf) -> int:
        """Do nothing: an unfinished object is not visible."""
        return 0

    @contextmanager
    def local_copy(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="download-") as folder:
            path = Path(folder) / Path(name).name
            with self._readable_errors(name), path.open("wb") as file:
                for chunk in self._client.get(name).stream(_CHUNK):
                    file.write(chunk)
            yield path

    @contextmanager
    def new_file(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="upload-") as folder:
            path = Path(folder) / Path(name).name
            yield path
            with self._readable_errors(name):
                self._client.put(name, path)

    @property
    def _client(self) -> Any:
        return _client(self.url, self.options)

    @contextmanager
    def _readable_errors(self, name: str) -> Iterator[None]:
        """Turn errors of the library into one line. Raises FileNotFoundError, ObjectStoreError."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of a file on this machine
            raise self._readable_error(error, name) from error

    def _readable_error(self, error: Exception, name: str) -> Exception:
        # The rest of the text may hold the id of a key.
        text = str(error)
        status, code = _STATUS.search(text), _CODE.search(text)
        reason = " ".join(match[1] for match in (status, code) if match)
        kind = self.url.partition(":")[0]
        if isinstance(error, FileNotFoundError) and not _NO_BUCKET.search(reason):
            return FileNotFoundError(f"{self.location_of(name)} does not exist")
        if _INSTANCE_METADATA.search(text):
            return ObjectStoreError(
                f"there are no credentials for {self.location}: set {_CREDENTIALS[kind]}, or "
                "give this machine a role, then run again"
            )
        if _NO_BUCKET.search(reason):
            bucket = "container" if kind == "az" else "bucket"
            return ObjectStoreError(f"the {bucket} of {self.location} does not exist; create it, then run again")
        place = f"the object store of {self.location}" + (
            f" at {self.options.endpoint}" if self.options.endpoint else ""
        )
        if status and status[1].startswith(("1", "2", "3", "4")):
            region = " AWS_REGION," if kind == "s3" else ""
            return ObjectStoreError(
                f"{place} refuses a request ({reason}); check its address,{region} and the key and its rights, "
                "then run again"
            )
        answer = f"answers {reason}" if status else "does not answer"
        cause = next((f" ({meaning})" for part, meaning in _CAUSES.items() if part in text), "")
        return ObjectStoreUnavailable(
            f"{place} {answer} for {self.options.retry_seconds:g} s{cause}; check it and its address, then run again"
        )


@lru_cache
def _client(url: str, options: ObjectStoreOptions) -> Any:
    """The client for a URL. All threads of a process share its connections. Raises BaseError."""
    from obstore.store import from_url

    return from_url(  # type: ignore[call-overload]
        url,
        config=_s3_config(options) if url.startswith("s3:") else None,
        client_options={
            "allow_http": options.allow_http,
            "connect_timeout": timedelta(seconds=options.connect_seconds),
            "read_timeout": timedelta(seconds=options.read_seconds),
            "timeout": _LONGEST_REQUEST,
        },
        retry_config={
            "max_retries": 1_000,
            "retry_timeout": timedelta(seconds=options.retry_seconds),
            "backoff": {"max_backoff": timedelta(seconds=5)},
        },
    )


def _s3_config(options: ObjectStoreOptions) -> dict[str, str]:
    config = {
        "access_key_id": options.access_key_id.get_secret_value(),
        "secret_access_key": options.secret_access_key.get_secret_value(),
        "session_token": options.session_token.get_secret_value(),
        "region": options.region,
        "endpoint": options.endpoint,
    }
    return {name: value for name, value in config.items() if value}
