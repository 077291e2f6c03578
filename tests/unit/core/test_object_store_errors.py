"""Errors of object stores name what is missing for their kind of store. The texts are those of the library."""

from __future__ import annotations

import pytest

from core.errors import ObjectStoreError
from core.object_store import ObjectStore, ObjectStoreOptions


def error_of(url: str, error: Exception) -> Exception:
    return ObjectStore(url, ObjectStoreOptions())._readable_error(error, "a")


@pytest.mark.parametrize(
    ("url", "address", "names"),
    [
        ("s3://b/x", "169.254.169.254", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ("gs://b/x", "metadata.google.internal", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("az://c/x", "169.254.169.254", "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"),
    ],
)
def test_missing_credentials_are_named(url: str, address: str, names: str) -> None:
    error = error_of(url, OSError(f"error sending request for url (http://{address}/)"))
    assert str(error) == (
        f"there are no credentials for {url}: set {names}, or give this machine a role, then run again"
    )


@pytest.mark.parametrize(
    ("url", "code", "name"),
    [
        ("s3://b/x", "NoSuchBucket", "bucket"),
        ("gs://b/x", "NoSuchBucket", "bucket"),
        ("az://c/x", "ContainerNotFound", "container"),
    ],
)
def test_missing_bucket_is_no_missing_file(url: str, code: str, name: str) -> None:
    text = f"Server returned non-2xx status code: 404 Not Found: <Error><Code>{code}</Code></Error>"
    error = error_of(url, FileNotFoundError(text))
    assert isinstance(error, ObjectStoreError)
    assert str(error) == f"the {name} of {url} does not exist; create it, then run again"
    assert isinstance(error_of(url, FileNotFoundError(text.replace(code, "Missing"))), FileNotFoundError)


@pytest.mark.parametrize("url", ["s3://b/x", "gs://b/x", "az://c/x"])
def test_only_s3_has_a_region(url: str) -> None:
    error = error_of(url, OSError("Server returned non-2xx status code: 403 Forbidden: "))
    assert ("AWS_REGION" in str(error)) is url.startswith("s3")
