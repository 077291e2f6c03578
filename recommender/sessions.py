"""`python -m recommender.sessions`: recommend to sessions without an account, for the serving API.

The serving API starts this process with the first such request, so that models and their libraries take no memory there
before. It reads one JSON object per line from stdin and writes one per line to stdout:

    {"id": 1, "tracks": [917, 31], "exclude": [], "n": 60}
    {"id": 1, "publication_id": 7, "known_tracks": 2, "track_ids": [44, 12], "scores": [0.9, 0.7]}

or `{"id": 1, "error": "..."}`. Requests that wait are scored together. Nothing is stored.
"""

from __future__ import annotations

import os
import selectors
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec
import numpy as np
from scipy.sparse import csr_array

from core.database import Connection, connect
from core.errors import MoovitamixError, named_errors
from core.exit_codes import returns_exit_code, run_main
from core.malloc import use_one_arena
from core.roles import SERVING, in_role
from core.settings import Settings, load_settings
from core.stores import model_store
from recommender.data.interactions import Ids, Interactions, positions_in
from recommender.models.base import Recommender
from recommender.models.champion import Champion
from recommender.publishing.model_runs import find_champion
from recommender.publishing.scoring import load_champion_model

_MAX_SESSIONS = 32
_CHECK_SECONDS = 1.0
_RETRY_SECONDS = 30.0


class GuestSession(msgspec.Struct):
    """One session: the tracks it played, those to leave out, and how many to recommend."""

    id: int
    tracks: list[int]
    exclude: list[int]
    n: int


@dataclass(frozen=True, eq=False)
class SessionModel:
    """The model of a publication. `model` is None for a popularity model, which has no personal recommendations."""

    publication_id: int
    model: Recommender | None
    track_ids: Ids
    excludes_played: bool

    def recommend(self, requests: Sequence[GuestSession]) -> list[dict[str, Any]]:
        """Recommend tracks that the model has learned to each session, best first.

        Sessions of unknown tracks get none. With a popularity model, all sessions get none.
        """
        plays = self._pairs([request.tracks for request in requests])
        answers = [
            {"id": request.id, "publication_id": self.publication_id, "known_tracks": int(known_tracks)}
            for request, known_tracks in zip(requests, np.diff(plays.plays.indptr), strict=True)
        ]
        if self.model is None or not len(plays):
            return [answer | {"track_ids": [], "scores": []} for answer in answers]
        excluded = [request.exclude + (request.tracks if self.excludes_played else []) for request in requests]
        model = self.model.fold_in(plays)
        ranking = model.recommend(plays.user_ids, max(request.n for request in requests), self._pairs(excluded))
        for answer, request, ids, scores in zip(answers, requests, ranking.ids, ranking.scores, strict=True):
            listed = np.flatnonzero(np.isfinite(scores))[: request.n]
            answer |= {"track_ids": ids[listed].tolist(), "scores": scores[listed].astype(np.float64).tolist()}
        return answers

    def _pairs(self, lists: Sequence[Sequence[int]]) -> Interactions:
        """One row per list, with the tracks that the model has learned. A track that occurs twice was played twice."""
        rows = np.repeat(np.arange(len(lists)), [len(tracks) for tracks in lists])
        tracks = np.fromiter((track for tracks in lists for track in tracks), np.int64, len(rows))
        columns = positions_in(self.track_ids, tracks)
        is_known = columns >= 0
        matrix = csr_array(
            (
                np.ones(int(is_known.sum()), np.float32),
                (rows[is_known].astype(np.int32), columns[is_known].astype(np.int32)),
            ),
            shape=(len(lists), len(self.track_ids)),
        )
        matrix.sum_duplicates()
        genres = np.zeros(len(lists), "<U1")
        return Interactions(np.arange(len(lists), dtype=np.int64), self.track_ids, matrix, genres)


def load_session_model(champion: Champion, settings: Settings) -> SessionModel:
    """Load the model of the champion. It needs no plays. Raises ModelFileError."""
    excludes_played = not settings.recommend_played
    if not champion.recipe.is_personalised:
        return SessionModel(champion.publication_id, None, np.empty(0, np.int64), excludes_played)
    model = load_champion_model(champion, model_store(settings))
    return SessionModel(champion.publication_id, model, model.track_ids, excludes_played)


class LiveSessionModel:
    """The model of the live publication.

    A thread loads it, and loads the next model after a publication or rollback. Until then the earlier model stays.
    """

    def __init__(self, settings: Settings, url: str) -> None:
        self._settings, self._url = settings, url
        self.model: SessionModel | None = None
        self.error = "the model is loading"
        self._thread = threading.Thread(target=self._follow, name="session-model", daemon=True)

    def start(self) -> None:
        """Start to follow the live publication."""
        self._thread.start()

    def _follow(self) -> None:
        while True:
            try:
                with named_errors(), connect(self._url) as connection:
                    self._follow_with(connection)
            except MoovitamixError as error:
                if str(error) != self.error:  # once per reason, not once per attempt
                    print(f"sessions: {error}", file=sys.stderr, flush=True)
                self.error = str(error)
            time.sleep(_CHECK_SECONDS if self.model is None else _RETRY_SECONDS)

    def _follow_with(self, connection: Connection) -> None:
        while True:
            champion = find_champion(connection)
            if champion is None:
                self.error = "nothing is published yet"
            else:
                if self.model is None or champion.publication_id != self.model.publication_id:
                    self.model = load_session_model(champion, self._settings)
                self.error = ""
            time.sleep(_CHECK_SECONDS)


def serve(live: LiveSessionModel, incoming: BinaryIO, outgoing: BinaryIO) -> None:
    """Answer requests until the input ends."""
    decoder, encoder = msgspec.json.Decoder(GuestSession), msgspec.json.Encoder()
    for lines in _waiting_lines(incoming.fileno()):
        requests = [decoder.decode(line) for line in lines]
        answers: Iterable[dict[str, Any]]
        try:
            model = live.model
            if model is None:
                answers = [{"id": request.id, "error": live.error} for request in requests]
            else:
                answers = model.recommend(requests)
        except MoovitamixError as error:
            answers = [{"id": request.id, "error": str(error)} for request in requests]
        outgoing.write(encoder.encode_lines(answers))
        outgoing.flush()


def _waiting_lines(descriptor: int) -> Iterable[list[bytes]]:
    """Yield the lines that wait, at most `_MAX_SESSIONS` at a time."""
    incomplete = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        lines: list[bytes] = []
        while True:
            while not lines or (len(lines) < _MAX_SESSIONS and selector.select(0)):
                data = os.read(descriptor, 1 << 20)
                if not data:
                    return
                *complete, incomplete = (incomplete + data).split(b"\n")
                lines += complete
            yield lines[:_MAX_SESSIONS]
            del lines[:_MAX_SESSIONS]


@returns_exit_code
def main() -> int:
    """Answer until stdin ends."""
    use_one_arena()
    settings = load_settings(data_dir_is_written=False)
    url = settings.serving_database_url.get_secret_value() or settings.database_url.get_secret_value()
    live = LiveSessionModel(settings, in_role(url, SERVING))
    live.start()
    serve(live, sys.stdin.buffer, sys.stdout.buffer)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
