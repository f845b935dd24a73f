"""A storage that one process opens, and workers of other processes and hosts use over a connection."""
