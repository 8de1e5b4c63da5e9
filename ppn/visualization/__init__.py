"""Pictures, colours and printed numbers."""
