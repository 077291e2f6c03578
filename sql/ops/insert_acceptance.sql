-- One row per time that a batch was let in although critical expectations failed.
insert into ops.acceptances (batch_id, run_id, reason, accepted_by, accepted_at, waived)
values (%(batch_id)s, %(run_id)s, %(reason)s, %(accepted_by)s, %(accepted_at)s, %(waived)s)
