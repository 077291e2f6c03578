-- ops: the comment of the schema says what is deleted since messages of the stream are rejected.

comment on schema ops is
    'The ledger: runs, batches, audit results, rejected rows and erasures. Only rejected messages of the stream are deleted.';
