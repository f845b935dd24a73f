"""Kinds of data and the bytes that they become: one module for those that are alike."""
