"""Callbacks with which trainers of other libraries write rows into `self.record`."""
