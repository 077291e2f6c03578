"""Erasure of a user: subject matching, the suppression list, landed pages, and the steps in the database.

`flows/erase.py` calls the steps. Extraction and transformation receive the suppression list as a row filter.
"""
