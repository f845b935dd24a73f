"""One trial's life: the code of components found, run through its events, and what it leaves behind written."""
