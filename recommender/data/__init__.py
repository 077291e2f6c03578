"""The data that models learn from: plays, item attributes, and their readers."""
