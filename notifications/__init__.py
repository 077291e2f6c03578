"""ALERTS: one message per cause, to every address in `ALERT_URLS`; what waits is kept until it is delivered."""
