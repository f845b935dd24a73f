"""Executions of tasks: check, schedule and record their trials."""
