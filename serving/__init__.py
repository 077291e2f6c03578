"""The API of front ends: recommendations, similar tracks and feedback. It imports only `core`."""
