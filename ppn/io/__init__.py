"""Files that appear whole, and files that nobody vouches for."""
