"""Streaming: consume listening sessions from a topic, store each exactly once, and recommend from them at once."""
