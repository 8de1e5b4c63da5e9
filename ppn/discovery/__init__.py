"""The parts of a class, found in its patch tokens (method: step 1)."""
