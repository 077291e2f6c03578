-- One row per track. The source no longer lists one track in a hundred.
insert into warehouse.tracks
select
    id, 'Title of track ' || id, 'Artist ' || id %% 1000, 's', '03:00', 180, 'words', 'album', '2024-05-01', '2024-05-01',
    case when id %% 100 = 0 then timestamptz '2024-05-01' end, 0, 'b'
from generate_series(1, %(tracks)s::bigint) as tracks (id)
