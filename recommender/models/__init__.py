"""The models, one file each, and the registry of candidates."""
