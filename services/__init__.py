"""All that `make up` starts on one machine, without Docker: what runs, where, and how it is kept running."""
