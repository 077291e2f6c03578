"""A simulated app: it shows recommendations to users through the serving API and sends their feedback."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import requests

from demo.environment import DemoError, MockApiClient

_TIMEOUT = 30.0
_SHOWN = 2
_NOT_FOUND = 404


@dataclass
class FrontEnd:
    """A client of the serving API with one API key. The seed draws the users who open the app on a day."""

    serving_url: str
    key: str
    api: MockApiClient
    seed: int = 0
    _session: requests.Session = field(default_factory=requests.Session)

    def simulate_day(self, user_ids: Sequence[int], count: int) -> None:
        """`count` of the users see their first tracks and give feedback on each."""
        self.seed += 1
        active_users = random.Random(self.seed).sample(sorted(user_ids), min(count, len(user_ids)))
        shown = {user: result for user in active_users if (result := self._recommendations(user)) is not None}
        shown_tracks = [{"user_id": user, "tracks": track_ids} for user, (_, track_ids) in shown.items()]
        for feedback in self.api.feedback(shown_tracks):
            publication_id, track_ids = shown[feedback["user_id"]]
            for track_id, useful in zip(track_ids, feedback["useful"], strict=True):
                self._send_feedback(feedback["user_id"], track_id, publication_id, useful)

    def _recommendations(self, user_id: int) -> tuple[int, list[int]] | None:
        """The publication id and the track ids; None if the user was removed."""
        response = self._session.get(
            f"{self.serving_url}/v1/users/{user_id}/recommendations",
            params={"n": _SHOWN},
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=_TIMEOUT,
        )
        if response.status_code == _NOT_FOUND:
            return None
        content = _checked(response).json()
        return content["publication_id"], [item["track_id"] for item in content["recommendations"]]

    def _send_feedback(self, user_id: int, track_id: int, publication_id: int, useful: bool) -> None:
        response = self._session.post(
            f"{self.serving_url}/v1/feedback",
            json={"user_id": user_id, "track_id": track_id, "publication_id": publication_id, "useful": useful},
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=_TIMEOUT,
        )
        _checked(response)


def _checked(response: requests.Response) -> requests.Response:
    """Raises DemoError if the response is an error."""
    if not response.ok:
        raise DemoError(f"the serving API responded with {response.status_code}: {response.text[:200]}")
    return response
