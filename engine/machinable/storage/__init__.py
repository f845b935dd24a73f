"""Storages of executions: trees of files, locks, formats and code snapshots, without tasks or components."""
