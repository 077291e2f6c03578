"""The format of model files: one .npz with plain arrays and a JSON header, without executable content."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.atomic_files import atomic_writer
from core.errors import ModelFileError

_FORMAT = 1


@dataclass(frozen=True)
class ModelFileContent:
    """The content of a model file."""

    path: Path
    model: str
    version: int
    params: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    def require_model(self, model: str, version: int) -> None:
        """Raises ModelFileError when another model, or another version of it, wrote the file."""
        if self.model != model:
            raise ModelFileError(f"{self.path} is the file of {self.model}, not of {model}")
        if self.version != version:
            raise ModelFileError(
                f"{self.path} is the file of version {self.version} of {model}, and this program reads version "
                f"{version}; retrain"
            )


def write(path: Path, model: str, version: int, params: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a model file atomically."""
    content_of_header = {"format": _FORMAT, "model": model, "version": version, "params": dict(params)}
    header = json.dumps(content_of_header, sort_keys=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"header": np.frombuffer(header.encode(), np.uint8), **arrays}
    with atomic_writer(path) as file:
        np.savez(file, **content)


def read(path: Path) -> ModelFileContent:
    """Read a model file. Raises ModelFileError when it is missing, damaged, or of another version."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = dict(file)
        header = json.loads(arrays.pop("header").tobytes())
        if header["format"] != _FORMAT:
            raise ModelFileError(f"{path} is a model file of format {header['format']}, not {_FORMAT}; retrain")
        version = header.get("version", 1)  # the first files have none
        return ModelFileContent(path, header["model"], version, header["params"], arrays)
    except FileNotFoundError:
        raise ModelFileError(f"the model file {path} is missing; restore it, or retrain") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ModelFileError(
            f"the model file {path} is damaged ({type(error).__name__}); restore it, or retrain"
        ) from error


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex. Raises ModelFileError when it cannot be read."""
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelFileError(
            f"the model file {path} cannot be read ({error.strerror}); restore it, or retrain"
        ) from error
