"""The OpenAPI document and pages that show it, without any network."""

from __future__ import annotations

import mimetypes
from pathlib import Path

import swagger_ui_bundle
from klein import Klein
from twisted.web.iweb import IRequest

ASSETS = Path(swagger_ui_bundle.swagger_ui_path)

PAGE = b"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>l7mp REST API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="page"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "/openapi.json", dom_id: "#page"});</script>
</body></html>
"""


def add_docs(app: Klein, document: bytes) -> None:
    """Serve the document at /openapi.json and a page that shows it at /docs."""

    @app.route("/openapi.json", methods=["GET"])
    def openapi(request: IRequest) -> bytes:
        request.setHeader(b"content-type", b"application/json")
        return document

    @app.route("/docs", methods=["GET"], strict_slashes=False)
    def page(request: IRequest) -> bytes:
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        return PAGE

    @app.route("/docs/<name>", methods=["GET"])
    def asset(request: IRequest, name: str) -> bytes:
        file = ASSETS / name
        if file.parent != ASSETS or not file.is_file():
            request.setResponseCode(404)
            return b"not found\n"
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        request.setHeader(b"content-type", kind.encode())
        return file.read_bytes()
