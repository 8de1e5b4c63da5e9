"""Images and classes to maps."""
