"""Which parts, how many and how refined: a study on cached tokens, judged on validation images."""
