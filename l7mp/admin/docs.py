"""The OpenAPI document, and pages that show it without any network."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable
from functools import cache

from klein import Klein
from openapi_ui_bundles import swagger_ui
from twisted.web.iweb import IRequest

from l7mp.admin.errors import JSON, Refusal

PAGE = b"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>l7mp: REST API</title>
<link rel="icon" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""

START = b"""SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#page",
  validatorUrl: null
});
"""
"""Without a validator: the usual one is somebody else's, on the Internet."""

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    b" img-src 'self' data:; connect-src 'self'"
)
"""What a page may load: nothing from anywhere else (CSP, level 3)."""


def add_docs(app: Klein, document: Callable[[], bytes]) -> None:
    """
    Serve the document at /openapi.json and a page that shows it at /docs.

    The document is made when it is asked for, once.
    """
    made = cache(document)
    assets = {path.name: path for path in swagger_ui.static_path.iterdir()}

    @app.route("/openapi.json", methods=["GET"])
    def openapi(request: IRequest) -> bytes:
        request.setHeader(b"content-type", JSON.encode())
        return made()

    @app.route("/docs", methods=["GET"])
    @app.route("/docs/", methods=["GET"])
    def page(request: IRequest) -> bytes:
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        request.setHeader(b"content-security-policy", POLICY)
        return PAGE

    @app.route("/docs/start.js", methods=["GET"])
    def start(request: IRequest) -> bytes:
        request.setHeader(b"content-type", b"text/javascript")
        return START

    @app.route("/docs/<name>", methods=["GET"])
    def asset(request: IRequest, name: str) -> bytes:
        if name not in assets:
            raise Refusal(404, "there is no such page")
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        request.setHeader(b"content-type", kind.encode())
        return assets[name].read_bytes()
