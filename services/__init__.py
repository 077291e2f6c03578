"""The local services: the processes that `make up` runs on one machine without Docker, plus backup and deployment."""
