"""The health page, as `/dashboard` or as a file: the health status, the reasons, and what to do."""
