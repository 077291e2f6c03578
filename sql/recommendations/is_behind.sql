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
    )
