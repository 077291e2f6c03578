"""What every part stands on: settings, errors, column names, the database. Imports nothing of ours."""
