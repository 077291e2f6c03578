-- Rate limits that several processes share: of requests to the source, and of requests to the serving API.

-- One row per source. Each request reserves the next moment, so the row is written once a request. It needs no log: after
-- a crash of the database the limit begins anew.
create unlogged table ops.request_rates (
    source text primary key,
    free_at timestamptz not null
) with (fillfactor = 50);

-- One row per limit, client and minute with requests.
create unlogged table serving.request_counts (
    limit_name text not null,
    client text not null,
    minute bigint not null,
    requests integer not null,
    primary key (limit_name, client, minute)
) with (fillfactor = 50);
create index on serving.request_counts (minute);

grant select, insert, update on ops.request_rates to moovitamix_ingest;
grant select, insert, update, delete on serving.request_counts to moovitamix_serving;

comment on table ops.request_rates is
    'One row per source with SOURCE_REQUESTS_PER_SECOND: when its next request may start, whichever process sends it.';
comment on column ops.request_rates.source is 'Address of the source.';
comment on column ops.request_rates.free_at is 'When the next request may start.';
comment on table serving.request_counts is
    'One row per limit, client and minute: requests to all processes with SERVING_LIMITS_URL. Older minutes are deleted.';
comment on column serving.request_counts.limit_name is 'Name of the limit: requests, feedback or refusals.';
comment on column serving.request_counts.client is 'Id of the API key, or a hash of the address of a client without a key.';
comment on column serving.request_counts.minute is 'Minutes since 1970.';
comment on column serving.request_counts.requests is 'Requests counted in that minute.';
