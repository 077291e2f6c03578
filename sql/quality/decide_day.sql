-- One row: the verdict on a day.
insert into ml.decisions (kind, day, verdict, why, figures, decided_at)
values ('day', %(day)s, %(verdict)s, %(why)s, %(figures)s, %(decided_at)s)
