"""Reads recommendations and sends feedback with the generated Python client; prints what it got as JSON."""

import json
import sys

from moovitamix_client import AuthenticatedClient
from moovitamix_client.api.read import read_popular_tracks, read_recommendations
from moovitamix_client.api.write import give_feedback_batch
from moovitamix_client.models import (
    BatchReport,
    FeedbackBatch,
    FeedbackItem,
    FeedbackItemKind,
    ProblemDetails,
    Recommendations,
)


def main(url: str, key: str) -> None:
    with AuthenticatedClient(base_url=url, token=key, raise_on_unexpected_status=True) as client:
        page = read_recommendations.sync(5, client=client, limit=2, exclude=[6], explain=True)
        if not isinstance(page, Recommendations):
            raise SystemExit(f"no recommendations: {page}")
        item = FeedbackItem(user_id=page.user_id, track_id=9, kind=FeedbackItemKind.LIKE)
        report = give_feedback_batch.sync(client=client, body=FeedbackBatch(feedback=[item]))
        if not isinstance(report, BatchReport):
            raise SystemExit(f"no report: {report}")
        problem = read_recommendations.sync(404, client=client)
        if not isinstance(problem, ProblemDetails):
            raise SystemExit(f"no problem: {problem}")
        unchanged = read_popular_tracks.sync_detailed(client=client, if_none_match="*")
    tracks = [track.track_id for track in page.recommendations]
    result = {"tracks": tracks, "accepted": report.accepted, "problem": problem.type_}
    print(json.dumps(result | {"unchanged": int(unchanged.status_code)}))


main(*sys.argv[1:])
