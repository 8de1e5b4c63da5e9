"""The study of how a class activation map is shared among parts."""
