"""Run again from what is stored: reproduce, export, restore."""
