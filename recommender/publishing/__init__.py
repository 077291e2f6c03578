"""Recommendations for all users, their publication and rollback, and the ledger of trainings."""
