"""The table of operations: Klein's routes and OpenAPI's paths are both made of it."""

from __future__ import annotations

from l7mp.admin import config, endpoints, matrix, objects, rulelists, sessions

OPERATIONS = (
    *config.OPERATIONS,
    *objects.OPERATIONS,
    *endpoints.OPERATIONS,
    *rulelists.OPERATIONS,
    *sessions.OPERATIONS,
    *matrix.OPERATIONS,
)
