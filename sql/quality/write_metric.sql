-- One row: a metric of a day. A day is measured once.
insert into ml.quality_metrics (metric, day, value, users, lower, upper, publication_id, judged, measured_at)
values (
    %(metric)s, %(day)s, %(value)s, %(users)s, %(lower)s, %(upper)s, %(publication_id)s, %(judged)s, %(measured_at)s
)
