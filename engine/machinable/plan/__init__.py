"""From a task to its trials: what runs, as frozen plain data."""
