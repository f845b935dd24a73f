"""Storages of executions: files, locks, formats and code snapshots, without knowledge of tasks or components."""
