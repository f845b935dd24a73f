"""Run stored executions again: reproduce, export, restore."""
