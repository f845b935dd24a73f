"""Search for good settings: domains, samplers, pruners, and what a search has found. No files, no processes."""
