"""One attempt of one trial: load its code, call its events in order, and store its files."""
