-- One row per listener who was erased.
select key, fingerprint, erased_at, allowed_at, e_mails
from ops.suppressed_listeners
order by erased_at, key, fingerprint
