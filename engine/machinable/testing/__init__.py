"""Kits of tests that say when an implementation of one of our protocols is done. They need pytest."""
