"""The description of the API at /docs: what every client must know, in Markdown."""

from __future__ import annotations

from core.settings import Settings
from serving.cross_origin import METHODS, REQUEST_HEADERS
from serving.error_responses import problem_table

# A backslash joins the lines of a paragraph, because Swagger UI shows each line break.
_GUIDE = """\
Recommendations for users, similar tracks, popular and new tracks, plays of users, and feedback.

### API keys

- Send an API key with every request: `Authorization: Bearer <key>`, or `X-API-Key: <key>`. The description of each \
operation names the scope that the key needs.
- **Keys are for servers.** Never put a key into an app or a web page: a key reads everything that its scopes allow, \
for every user. Your page calls your own backend, and your backend calls this API.

### Browsers

- This API refuses browsers on other origins, unless the setting `SERVING_CORS_ORIGINS` names the origin.
- Allowed methods: {methods}. Allowed request headers: {headers}.

### Ids for the examples

The ids in the examples may not exist in your data. `GET /v1/popular` returns tracks that exist, with the \
`publication_id`. A command in the README, under "Read recommendations", finds a user who has recommendations.

### Pages

- Send `next_cursor` as `cursor`, with the same filters. All pages stay on the list with which the first page began, \
even if a newer list is published.
- A list that follows the plays of a user expires with each new play: the cursor then gets 410 `expired-cursor`. \
Read again without `cursor`, and with `exclude` for the tracks that your page shows.

### Requests

- Send a body as JSON with `Content-Type: application/json` (or a type that ends in `+json`), without compression, \
at most {body_bytes:,} bytes.
- Many proxies refuse a URL above 8 KB, for example with a long `exclude`.
- Unknown query parameters and fields are refused. Only `exclude` may be repeated.
- `HEAD` works like `GET`, without the body. `OPTIONS` lists the methods of a path.
- Send the `ETag` of a list, with its quotes, as `If-None-Match`. 304 means that nothing has changed.

### Limits

Each API key may send {requests:,} requests a minute, and {feedback:,} answers, reactions and impressions a minute. \
Each item of a batch counts. After that, the response is 429 until `Retry-After` seconds have passed.

### Errors

Errors are problem details (RFC 9457) with the media type `application/problem+json`. Distinguish them by the end of \
`type`, such as `urn:moovitamix:problem:no-key`. Quote `instance` when you report a problem.

{problems}
"""


def api_guide(settings: Settings) -> str:
    """The description, with the limits of these settings and all problem types."""
    return _GUIDE.format(
        methods=", ".join(METHODS),
        headers=", ".join(f"`{name}`" for name in REQUEST_HEADERS),
        body_bytes=settings.serving_max_body_bytes,
        requests=settings.serving_requests_per_minute,
        feedback=settings.serving_feedback_per_minute,
        problems=problem_table(),
    )
