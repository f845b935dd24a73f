"""What a person sees: while an execution runs, and of what came out of it."""
