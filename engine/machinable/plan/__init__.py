"""Tasks and their plans: the trials to run, as frozen plain data."""
