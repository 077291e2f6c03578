-- mart: ingest owns the tables that it loads first without their keys. Postgres lets only the owner drop and add keys.

alter table mart.user_days owner to moovitamix_ingest;
alter table mart.daily_track_plays owner to moovitamix_ingest;
