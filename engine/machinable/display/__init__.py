"""The display of running executions and of results."""
