"""Formats of artifacts, one module for each group of similar formats."""
