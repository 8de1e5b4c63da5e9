"""One image explained: the public Python interface."""
