-- One run, ended.
update ops.runs set finished_at = %(finished_at)s, outcome = %(outcome)s where run_id = %(run_id)s
