"""The configuration language: text and values in, values out."""
