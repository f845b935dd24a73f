"""Read stored executions."""
