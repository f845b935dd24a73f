"""The pages: thin layers of NiceGUI over the views, whose content is computed elsewhere."""
