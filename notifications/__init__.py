"""Notifications: one message per cause to every address in `ALERT_URLS`. Undelivered messages are queued on disk."""
