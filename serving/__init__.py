"""What front ends read: recommendations, similar tracks, and a place for feedback. Knows the core and nothing else."""
