-- One row: an alarm, unless one of its metric is open.
insert into ml.alarms (metric, day, value, baseline, statistic, publication_id, raised_at)
values (%(metric)s, %(day)s, %(value)s, %(baseline)s, %(statistic)s, %(publication_id)s, %(raised_at)s)
on conflict do nothing
