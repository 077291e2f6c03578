"""Demonstrations on the mock API: four days of ingest (`make demo`), and four weeks with drift (`demo.weeks`)."""
