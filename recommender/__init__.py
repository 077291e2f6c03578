"""Models: who played what, what each model makes of it, which one is best, and how its lists are published."""
