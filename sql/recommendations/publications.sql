-- name: start_publication
-- One row per list of everyone, staged until it is audited.
insert into ml.publications (model_run_id, flow, status, data_as_of, batches, made_at)
values (%(model_run_id)s, %(flow)s, 'staged', %(data_as_of)s, %(batches)s, %(made_at)s)
returning publication_id;

-- name: insert_expectation_result
-- One row per publication and expectation of the audit of its list.
insert into ml.expectation_results
    (publication_id, expectation, "column", severity, success, unexpected_count, unexpected_share, observed_value,
    description)
values
    (%(publication_id)s, %(expectation)s, %(column)s, %(severity)s, %(success)s, %(unexpected_count)s,
    %(unexpected_share)s, %(observed_value)s, %(description)s)
on conflict do nothing;

-- name: finish_publication
-- The one row of a publication: how large its list is, and whether it went live, or why not.
update ml.publications
set status = %(status)s,
    reason = %(reason)s,
    listeners = profile.listeners_listed,
    rows = profile.rows_listed,
    tracks_covered = profile.tracks_covered,
    excludes_played = profile.excludes_played
from {profile} as profile
where publication_id = %(publication_id)s;

-- name: insert_live_publication
-- One row per time that a publication went live.
insert into ml.live_publications (publication_id, live_from, why)
values (%(publication_id)s, %(live_from)s, %(why)s);

-- name: find_publication
-- At most one row: a publication, and whether it is live.
select
    publication.publication_id,
    publication.status,
    publication.pruned_at,
    publication.publication_id = (select publication_id from ml.live_publications order by live_id desc limit 1)
from ml.publications as publication
where publication.publication_id = %(publication_id)s;

-- name: find_live_publication
-- At most one row: what is live, and the model run behind it.
select live.live_id, live.publication_id, run.model_run_id, run.model, run.params, run.model_file, run.model_digest,
    run.data_as_of
from ml.live_publications as live
join ml.publications using (publication_id)
join ml.model_runs as run using (model_run_id)
order by live.live_id desc
limit 1;

-- name: find_previous_publication
-- At most one row: the publication that is kept and was live last before the one that is live now.
select live.publication_id
from ml.live_publications as live
join ml.publications as publication using (publication_id)
where publication.pruned_at is null
    and live.publication_id <> (select publication_id from ml.live_publications order by live_id desc limit 1)
order by live.live_id desc
limit 1;

-- name: find_live_id
-- At most one row: which going-live is the newest.
select live_id from ml.live_publications order by live_id desc limit 1;

-- name: find_publication_size
-- At most one row: how large a publication is.
select listeners, rows, tracks_covered from ml.publications where publication_id = %(publication_id)s;

-- name: find_newest_batches
-- One row per endpoint that was ever published: its newest batch that came in. Runs tell which is the newest: a batch may
-- name a day in the future, by a clock that was ahead.
select distinct on (endpoint) batch_id
from ops.batches
where status in ('published', 'unchanged')
order by endpoint, read_in_run desc nulls last, day desc, revision desc;

-- name: is_behind
-- One row: whether a batch was published after the newest lists were made, or any, while there are none; or whether the
-- lists that are live went live after now, by a clock that was ahead. Lists name the batches that they were made from:
-- what was read in a later run is not in them, whatever the clock said. Times decide where no run is known.
with newest as (
    select publication_id, made_at, batches
    from ml.publications
    where status = 'published'
    order by publication_id desc
    limit 1
)

select
    exists (
        select
        from ops.batches as batch
        left join newest on true
        where batch.status = 'published'
            and (
                newest.publication_id is null
                or batch.batch_id <> all (newest.batches)
                and case
                    when batch.read_in_run is not null then batch.read_in_run > coalesce(
                        (
                            select max(known.read_in_run)
                            from ops.batches as known
                            where known.endpoint = batch.endpoint and known.batch_id = any (newest.batches)
                        ),
                        0
                    )
                    else batch.finished_at > newest.made_at
                end
            )
    )
    or exists (
        select
        from (select live_from from ml.live_publications order by live_id desc limit 1) as live
        where live.live_from > %(latest)s
    );
