"""The way of a batch: api -> landing -> shaping -> staging -> (audit) -> warehouse. Knows nothing of Prefect."""
