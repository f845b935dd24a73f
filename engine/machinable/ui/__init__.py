"""A page in the browser that shows what a storage contains: `machinable ui`."""
