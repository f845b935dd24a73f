"""Engines, which run trials."""
