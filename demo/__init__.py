"""The daily ingest, shown: four days of listening from the mock API, one of them bad, and what came of each."""
