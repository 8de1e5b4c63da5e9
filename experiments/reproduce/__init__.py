"""`make reproduce`: every number of the project from one command, beside the published ones."""
