"""Simulates the duration of a nightly run on many machines, from block times that were measured on one."""
