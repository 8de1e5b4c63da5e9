"""What `make bench` runs: one file per kind of work."""
