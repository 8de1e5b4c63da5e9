"""What `experiments/sweep.py` is made of: the sweep file, and what proposes trials."""
