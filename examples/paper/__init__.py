"""From two models to a figure and a table for a paper."""
