-- One row per time that a publication went live.
insert into ml.live_publications (publication_id, live_from, why)
values (%(publication_id)s, %(live_from)s, %(why)s)
