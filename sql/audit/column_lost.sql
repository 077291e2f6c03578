-- One row, id null, if the column is blank in more staged rows than a share of the whole list.
select null as id
from {batch}
having count(*) filter (where {column} !~ '\S') > {limit} * (select rows_listed from staging.{profile})
