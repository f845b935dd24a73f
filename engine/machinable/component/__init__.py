"""The classes that users derive from, the objects in `self`, and the import of components."""
