"""The console: pages for people who run the system. Rendered here, without scripts and requests to other hosts."""
