"""Bytes with names: where executions are kept, and how. It knows no task and no component."""
