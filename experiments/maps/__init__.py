"""Which cut and baseline maps that add up are made with, and how good such maps are."""
