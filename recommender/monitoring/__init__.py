"""How good published recommendations turn out to be, and when a drop is an alarm."""
