-- One row per rejected row or play of the lists that have listeners, and where it stands.
select ctid::text, endpoint, raw_json
from ops.rejected_rows
where endpoint in ('users', 'listen_history') and raw_json <> %(in_place)s
