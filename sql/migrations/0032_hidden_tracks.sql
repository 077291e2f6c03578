-- The consumer of the stream leaves out the tracks that users have hidden.

grant select (user_id, track_id, kind) on ml.reactions to moovitamix_stream;
