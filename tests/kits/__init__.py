"""Conformance tests of engines and storages, and servers for tests."""
