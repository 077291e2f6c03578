-- One row per recommendation whose score is not a finite number.
select user_id, rank
from {batch}
where score = 'NaN' or score = 'Infinity' or score = '-Infinity'
