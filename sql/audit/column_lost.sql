-- One row per staged row whose column is blank, if those are more than a share of the whole list.
select id
from {batch}
where {column} !~ '\S'
    and (select count(*) from {batch} where {column} !~ '\S')
        > {limit} * (select rows_listed from staging.{profile})
