-- ops: to accept a blocked batch, one must know how bad it was when somebody read it.
grant select (unexpected_count, observed_value) on ops.expectation_results to moovitamix_ingest;
