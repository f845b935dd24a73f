"""Read back what ran."""
