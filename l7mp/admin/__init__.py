"""The REST API: one table of operations, and what is derived from it."""
