"""Run blocks of work: in this process, or on the workers of a Dask cluster. Only this package imports Dask."""
