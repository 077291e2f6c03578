"""The only module that imports Great Expectations.

Its import loads `scipy.stats` and `altair`, a third of its import time, for an expectation and plots that no suite here
uses. Here both are loaded at their first use.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

_SELDOM_USED = ("scipy.stats", "altair")


class _LoadedOnUse(ModuleType):
    """A placeholder for a module. Modules that import it get the placeholder, and its first use loads the module."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by the import system
            raise AttributeError(name)
        return getattr(import_module(self.__name__), name)


@contextmanager
def _loading_on_use(*names: str) -> Iterator[None]:
    """Within the block, importing these modules loads nothing. Later imports get the real modules."""
    deferred = {name: _LoadedOnUse(name) for name in names if name not in sys.modules}
    sys.modules.update(deferred)
    try:
        yield
    finally:
        for name in deferred:
            del sys.modules[name]


with _loading_on_use(*_SELDOM_USED):
    import great_expectations as gx
    from great_expectations import expectations as gxe
    from great_expectations.core import ExpectationSuite, ExpectationSuiteValidationResult, RunIdentifier
    from great_expectations.core.batch_definition import BatchDefinition
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )
    from great_expectations.datasource.fluent import PostgresDatasource
    from great_expectations.datasource.fluent.interfaces import TestConnectionError
    from great_expectations.exceptions import GreatExpectationsError
    from great_expectations.expectations.expectation import Expectation
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.expectations.metadata_types import FailureSeverity
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

__all__ = [
    "BatchDefinition",
    "DataContextConfig",
    "DefaultJinjaPageView",
    "Expectation",
    "ExpectationConfiguration",
    "ExpectationSuite",
    "ExpectationSuiteValidationResult",
    "ExpectationValidationResult",
    "FailureSeverity",
    "GreatExpectationsError",
    "InMemoryStoreBackendDefaults",
    "PostgresDatasource",
    "ProgressBarsConfig",
    "RunIdentifier",
    "TestConnectionError",
    "ValidationResultsPageRenderer",
    "gx",
    "gxe",
]
