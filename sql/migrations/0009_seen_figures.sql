-- ops: an acceptance is compared with the figures that a person read before accepting.
grant select (unexpected_count, observed_value) on ops.expectation_results to moovitamix_ingest;
