"""Small projects that run; the components of this package are declared in the machinable.yaml at the root."""
