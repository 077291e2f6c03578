"""Models that fail, for trials on a cluster."""

from __future__ import annotations

import os
import signal
from typing import ClassVar

from recommender.data.interactions import Interactions
from recommender.models.popularity import Popularity


class EndsItsWorker(Popularity):
    """Kills the process that started its trial: on a cluster, that of the worker."""

    name: ClassVar[str] = "ends_its_worker"

    def _fit(self, interactions: Interactions) -> None:
        os.kill(os.getppid(), signal.SIGKILL)
        super()._fit(interactions)


class EndsItself(Popularity):
    name: ClassVar[str] = "ends_itself"

    def _fit(self, interactions: Interactions) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)
