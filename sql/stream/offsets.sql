-- name: find_next_offset
-- At most one row: the offset of the next message to consume of a partition.
select next_offset from stream.offsets where topic_id = %(topic_id)s and partition = %(partition)s;

-- name: find_offsets
-- One row per partition of a topic with stored messages: the offset of the next message, and the number of stored messages.
select partition, next_offset, messages from stream.offsets where topic_id = %(topic_id)s order by partition;

-- name: move_offset_back
-- One row if the partition was consumed beyond the offset: the offset before.
update stream.offsets as moved
set next_offset = %(next_offset)s
from (
    select topic_id, partition, next_offset
    from stream.offsets
    where topic_id = %(topic_id)s and partition = %(partition)s
    for update
) as consumed
where moved.topic_id = consumed.topic_id and moved.partition = consumed.partition
    and consumed.next_offset > %(next_offset)s
returning consumed.next_offset;

-- name: add_offset
-- One row if the partition had no offset yet, none if another consumer was faster.
insert into stream.offsets (topic_id, partition, next_offset, messages)
values (%(topic_id)s, %(partition)s, %(next_offset)s, %(messages)s)
on conflict do nothing
returning next_offset;

-- name: move_offset
-- One row if the partition still had the expected offset, none if another consumer moved it.
update stream.offsets
set next_offset = %(next_offset)s, messages = messages + %(messages)s
where topic_id = %(topic_id)s and partition = %(partition)s and next_offset = %(expected_offset)s
returning next_offset;

-- name: reject_message
-- One row per rejected message, or rejected play of a stored session. None if a replay rejects it again.
insert into ops.rejected_rows
    (endpoint, play_position, raw_json, reason, topic, partition, "offset", message_id, rejected_at)
values
    (
        %(endpoint)s, %(play_position)s, %(raw_json)s, %(reason)s, %(topic)s, %(partition)s, %(offset)s,
        %(message_id)s, %(now)s
    )
on conflict do nothing;
