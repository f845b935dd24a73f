"""Search for good settings: domains, spaces, samplers, pruners, importance. No files, no processes."""
