"""The steps of a batch: client, extraction, landing, transformation, staging, warehouse. Imports no Prefect."""
