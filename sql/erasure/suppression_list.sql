-- name: save_suppression
-- One listener who is turned away, or allowed again. A word that is older than the one there changes nothing; e-mails
-- are added.
insert into ops.suppressed_listeners as known (key, fingerprint, e_mails, erasure_id, erased_at, allowed_at)
values (%(key)s, %(fingerprint)s, %(e_mails)s::bytea[], %(erasure_id)s, %(erased_at)s, %(allowed_at)s)
on conflict (key, fingerprint) do update set
    e_mails = array(select distinct one from unnest(known.e_mails || excluded.e_mails) as one order by one),
    erasure_id = coalesce(excluded.erasure_id, known.erasure_id),
    erased_at = excluded.erased_at,
    allowed_at = excluded.allowed_at
where greatest(excluded.erased_at, excluded.allowed_at) >= greatest(known.erased_at, known.allowed_at);

-- name: find_suppressions
-- One row per listener who was erased.
select key, fingerprint, erased_at, allowed_at, e_mails
from ops.suppressed_listeners
order by erased_at, key, fingerprint;
