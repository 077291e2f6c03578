-- One row: whether a batch was published after the newest list was made, or any, while there is no list.
select exists (
    select from ops.batches
    where status = 'published'
        and finished_at > coalesce(
            (select max(made_at) from ml.publications where status = 'published'), '-infinity'
        )
)
