-- One row per id that is staged more than once.
select id from {batch} group by id having count(*) > 1
