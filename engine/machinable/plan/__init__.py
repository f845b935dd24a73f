"""What shall run, frozen: from a task to its trials."""
