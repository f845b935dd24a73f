"""Reading back what ran."""
