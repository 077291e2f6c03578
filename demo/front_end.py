"""An app that shows recommendations: it reads the lists of some listeners, and passes on what they say of them."""

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
    """It has one API key. Which listeners open it on a day is drawn by the seed."""

    serving_url: str
    key: str
    api: MockApiClient
    seed: int = 0
    _session: requests.Session = field(default_factory=requests.Session)

    def day(self, listeners: Sequence[int], count: int) -> tuple[int, int]:
        """So many of the listeners see their first tracks, and answer. Returns how many answers are useful, and all."""
        self.seed += 1
        opened = random.Random(self.seed).sample(sorted(listeners), min(count, len(listeners)))
        lists = {user: found for user in opened if (found := self._recommended(user)) is not None}
        shown = [{"user_id": user, "tracks": tracks} for user, (_, tracks) in lists.items()]
        useful = answered = 0
        for said in self.api.useful(shown):
            publication_id, tracks = lists[said["user_id"]]
            for track, verdict in zip(tracks, said["useful"], strict=True):
                self._pass_on(said["user_id"], track, publication_id, verdict)
                useful, answered = useful + verdict, answered + 1
        return useful, answered

    def _recommended(self, user_id: int) -> tuple[int, list[int]] | None:
        answer = self._session.get(
            f"{self.serving_url}/v1/users/{user_id}/recommendations",
            params={"n": _SHOWN},
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=_TIMEOUT,
        )
        if answer.status_code == _NOT_FOUND:
            return None  # removed since
        found = _checked(answer).json()
        return found["publication_id"], [one["track_id"] for one in found["recommendations"]]

    def _pass_on(self, user_id: int, track_id: int, publication_id: int, useful: bool) -> None:
        answer = self._session.post(
            f"{self.serving_url}/v1/feedback",
            json={"user_id": user_id, "track_id": track_id, "publication_id": publication_id, "useful": useful},
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=_TIMEOUT,
        )
        _checked(answer)


def _checked(answer: requests.Response) -> requests.Response:
    """Raises DemoError when serving did not take it."""
    if not answer.ok:
        raise DemoError(f"the serving API answers {answer.status_code}: {answer.text[:200]}")
    return answer
