-- One row per user.
insert into warehouse.users
select id, 'first', 'last', 'e-mail', 'x', case id %% 2 when 0 then 'Rock' else 'Jazz' end, '2024-05-01', '2024-05-01', null, 0, 'b'
from generate_series(1, %(users)s::bigint) as users (id)
