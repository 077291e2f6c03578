"""Keeps fresh recommendations up to date: after each stored session, and after each new publication or batch."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.clock import Clock
from core.database import Connection, readable_errors
from core.errors import DatabaseError, MoovitamixError, named_errors
from core.queries import load_query
from core.settings import Settings
from recommender.data.mart_reader import newest_batches
from recommender.models.champion import Champion
from recommender.publishing.model_runs import find_champion
from streaming.fresh_recommendations import FreshList, recommend_to_users, save_lists
from streaming.live_model import LiveModel, LiveModelLoader
from streaming.metrics import StreamMetrics
from streaming.recommendation_history import StreamedChange, prune_history, remove_fresh_recommendations

_LOGGER = logging.getLogger(__name__)
# A step has few users, so that memory stays small and the next message waits only briefly. While the consumer is
# behind, it recommends to even fewer users, and only once per second, so that it can store messages.
_USERS_PER_STEP = 100
_USERS_WHILE_BEHIND = 20
_CHANGES_PER_PAGE = 2_000
_MAX_MEASURED_USERS = 100_000
_REFRESH_SECONDS = 1.0
_MODEL_RETRY_SECONDS = 60.0
_PRUNE_SECONDS = 3_600.0
# Transactions do not commit in the order of their change ids. So the changes of the last seconds are read again.
_COMMIT_SECONDS = 10.0


@dataclass
class MissedChanges:
    """The position in the changes of sessions, which are read in order of `change_id` to find users who were missed.

    A user is missed if their recommendations do not include a change. The consumer that stores a session recommends at
    once. It misses the user if it ended before, was behind, or used another model. `position` is the last change that
    was read, `start` the change after which the next pass begins.
    """

    start: int = 0
    position: int = 0
    # The monotonic seconds at which all changes were read, each with the newest change at that time; oldest first.
    _ends: deque[tuple[float, int]] = field(default_factory=deque)

    def advance(self, newest: int, is_end: bool) -> None:
        """Continue after the newest change of a page. After the last page, return to those of the last seconds."""
        self.position = newest
        if not is_end:
            return
        now = time.monotonic()
        self._ends.append((now, newest))
        while len(self._ends) > 1 and now - self._ends[1][0] >= _COMMIT_SECONDS:
            self._ends.popleft()
        ended_at, last_change = self._ends[0]
        if now - ended_at >= _COMMIT_SECONDS:
            self.start = last_change
        self.position = self.start


@dataclass
class RecommendationUpdates:
    """Updates fresh recommendations after each stored session, and after each new publication or batch."""

    settings: Settings
    clock: Clock
    metrics: StreamMetrics
    loader: LiveModelLoader
    live: LiveModel | None = None
    # Users whose recommendations do not include a play yet, with the time when the first such play was sent.
    _waiting_since: dict[int, float] = field(default_factory=dict)
    _missed: MissedChanges = field(default_factory=MissedChanges)
    _missed_users: list[int] = field(default_factory=list)
    _is_last_page: bool = True
    # Whether publications that are not live may have fresh recommendations.
    _may_remove: bool = False
    _refreshed_at: float = float("-inf")
    _pruned_at: float = float("-inf")
    # The champion and batches of the model that the loader loads or loaded. After a failure it retries at `_retry_at`.
    _loaded: tuple[Champion, tuple[str, ...]] | None = None
    _retry_at: float = float("inf")

    def __post_init__(self) -> None:
        self.metrics.waiting_users.set_function(lambda: len(self._waiting_since))

    @property
    def has_missed_users(self) -> bool:
        """Whether users who were missed wait. Then `refresh` recommends to the next of them at every call."""
        return self.live is not None and (bool(self._missed_users) or not self._is_last_page)

    def record_plays(self, sent_at: Mapping[int, float | None]) -> None:
        """Record users whose sessions changed, with the time when the message was sent, in seconds since 1970.

        The metrics measure the time from the message until the recommendations of the user are saved.
        """
        if not self.settings.stream_fresh:
            return
        for user_id, seconds in sent_at.items():
            if seconds is not None and len(self._waiting_since) < _MAX_MEASURED_USERS:
                self._waiting_since.setdefault(user_id, seconds)

    def recommend_to(self, connection: Connection, user_ids: Sequence[int]) -> None:
        """Recommend to the first of these users, whose sessions changed; `refresh` recommends to the others.

        Raises DatabaseError.
        """
        if not self.settings.stream_fresh or self.live is None:
            return
        self._recommend(connection, self.live, user_ids[:_USERS_PER_STEP])
        if len(user_ids) > _USERS_PER_STEP:
            self._is_last_page = False

    def refresh(self, connection: Connection, is_behind: bool = False) -> bool:
        """Follow the live publication once per second, and recommend to some of the missed users at each call.

        While the consumer `is_behind`, it recommends to fewer users, once per second, so that it can store messages.
        Returns whether this call followed the live publication. Raises DatabaseError.
        """
        is_due = time.monotonic() - self._refreshed_at >= _REFRESH_SECONDS
        if not is_due:
            if self.live is not None and self.has_missed_users and not is_behind:
                self._recommend_to_missed(connection, self.live, _USERS_PER_STEP)
            return False
        self._refreshed_at = time.monotonic()
        if not self.settings.stream_fresh:
            remove_fresh_recommendations(connection, self.clock(), of_live_publication=True)
            return True
        if time.monotonic() - self._pruned_at >= _PRUNE_SECONDS:
            prune_history(connection, self.clock())
            self._pruned_at = time.monotonic()
        self._follow_publication(connection)
        if self._may_remove:
            self._may_remove = remove_fresh_recommendations(connection, self.clock(), of_live_publication=False)
        if self.live is not None:
            self._recommend_to_missed(connection, self.live, _USERS_WHILE_BEHIND if is_behind else _USERS_PER_STEP)
        return True

    def _follow_publication(self, connection: Connection) -> None:
        if self.loader.is_loading:
            self._take_model(connection)
            return
        champion, batches = find_champion(connection), tuple(newest_batches(connection))
        if champion is None or (self._loaded == (champion, batches) and time.monotonic() < self._retry_at):
            return
        self._loaded, self._retry_at = (champion, batches), float("inf")
        self.loader.load(champion, batches)

    def _take_model(self, connection: Connection) -> None:
        try:
            live = self.loader.pop_loaded()
        except DatabaseError:
            self._loaded = None
            raise
        except MoovitamixError as error:
            _LOGGER.warning("no fresh recommendations: %s", error)
            self.live, self._missed_users = None, []
            self._retry_at = time.monotonic() + _MODEL_RETRY_SECONDS
            return
        if live is None:
            return
        self.live, self._missed, self._missed_users = live, MissedChanges(), []
        self.metrics.model_loads.inc()
        self._may_remove = True

    def _recommend_to_missed(self, connection: Connection, live: LiveModel, max_users: int) -> None:
        """Recommend to the next users who were missed. If none is left, first read the next page of changes."""
        if not self._missed_users:
            self._missed_users = self._read_missed_users(connection, live)
        if self._missed_users:
            self._recommend(connection, live, self._missed_users[:max_users])
        self._missed_users = self._missed_users[max_users:]

    def _read_missed_users(self, connection: Connection, live: LiveModel) -> list[int]:
        values = {
            "publication_id": live.champion.publication_id,
            "after": self._missed.position,
            "max_changes": _CHANGES_PER_PAGE,
        }
        with readable_errors():
            changes, newest, user_ids = connection.execute(
                load_query("stream/find_missed_users"), values
            ).fetchone() or (0, None, [])
        self._is_last_page = changes < _CHANGES_PER_PAGE
        self._missed.advance(self._missed.position if newest is None else newest, self._is_last_page)
        if self._is_last_page and not user_ids:
            self._forget_users_of_other_consumers()
        return list(user_ids)

    def _forget_users_of_other_consumers(self) -> None:
        """Stop measuring users who still wait. No user was missed, so another consumer recommended to them."""
        sent_before = time.time() - _COMMIT_SECONDS
        for user_id in [user_id for user_id, sent_at in self._waiting_since.items() if sent_at < sent_before]:
            del self._waiting_since[user_id]

    def _recommend(self, connection: Connection, live: LiveModel, user_ids: Sequence[int]) -> None:
        now = self.clock()
        with readable_errors():
            changes = {
                user_id: StreamedChange(change_id, newest_session_at)
                for user_id, change_id, newest_session_at in connection.execute(
                    load_query("stream/fresh_recommendations.find_changes"), {"user_ids": list(user_ids)}
                )
            }
        try:
            with named_errors():
                lists = recommend_to_users(
                    connection,
                    live,
                    list(changes),
                    now=now,
                    list_length=self.settings.recommendations_per_user,
                )
        except DatabaseError:
            raise
        except MoovitamixError as error:
            # Sessions are still stored. The users get recommendations after their next session or the next publication.
            _LOGGER.warning("no fresh recommendations for %d users: %s", len(changes), error)
            lists = [FreshList(user_id, [], [], f"the model failed: {error}") for user_id in changes]
        saved_lists, failed_lists = save_lists(connection, live, lists, changes, now)
        saved_at = time.time()
        for fresh_list in lists:
            sent_at = self._waiting_since.pop(fresh_list.user_id, None)
            if sent_at is not None and fresh_list.failure is None:
                self.metrics.play_to_list.observe(max(0.0, saved_at - sent_at))
        self.metrics.lists.inc(saved_lists)
        self.metrics.failed_lists.inc(failed_lists)
