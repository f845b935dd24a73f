"""Example projects. Their components are declared in the machinable.yaml at the root of the repository."""
