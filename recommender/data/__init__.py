"""What models learn from: plays, the attributes of tracks, and where both are read."""
