"""Recommend to all users, publish and roll back, and record model runs."""
