"""Sets of tests that every implementation of a protocol must pass."""
