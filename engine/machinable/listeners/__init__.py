"""Listeners that settings name: notifications, and tools that track experiments."""
