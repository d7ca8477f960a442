"""Bytes to values and back: pure, without I/O or time."""
