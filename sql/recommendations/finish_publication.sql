-- The one row of a publication: how large its list is, and whether it went live, or why not.
update ml.publications
set status = %(status)s,
    reason = %(reason)s,
    listeners = profile.listeners_listed,
    rows = profile.rows_listed,
    tracks_covered = profile.tracks_covered,
    excludes_played = profile.excludes_played
from {profile} as profile
where publication_id = %(publication_id)s
