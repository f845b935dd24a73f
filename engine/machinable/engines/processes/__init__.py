"""The engine of worker processes on this host."""
