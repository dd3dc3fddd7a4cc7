"""The OpenAPI document, and its page: Swagger UI from the package, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

from flask import Blueprint, Response, current_app, render_template_string

from app.routes import openapi

PACKAGE = find_spec("flask_openapi3_swagger")
ASSETS = Path(str(PACKAGE and PACKAGE.origin)).parent / "templates" / "swagger"

blueprint = Blueprint(
    "docs", __name__, url_prefix="/", static_folder=ASSETS, static_url_path="/docs/assets"
)

# The address stands in the page, so that the script is always the same.
START = """
window.ui = SwaggerUIBundle({
  url: document.querySelector("#page").dataset.url,
  dom_id: "#page",
  deepLinking: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""
PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Followthrough: the API</title>
  <link rel="icon" href="{{ url_for('docs.static', filename='images/swagger.svg') }}">
  <link rel="stylesheet" href="{{ url_for('docs.static', filename='css/swagger-ui.css') }}">
</head>
<body>
  <div id="page" data-url="{{ url_for('docs.document') }}"></div>
  <script src="{{ url_for('docs.static', filename='js/swagger-ui-bundle.js') }}"></script>
  <script>{{ start | safe }}</script>
</body>
</html>
"""


@blueprint.get("/openapi.json")
def document() -> Response:
    """The OpenAPI document."""
    known = current_app.extensions
    if "openapi" not in known:
        # Not sorted, so that people read fields and examples in their own order.
        known["openapi"] = json.dumps(openapi.document(current_app))
    return Response(known["openapi"], mimetype="application/json")


@blueprint.get("/docs", strict_slashes=False)
@blueprint.get("/docs/", strict_slashes=False)
def page() -> Response:
    """The page that shows the document, and sends its requests."""
    response = Response(render_template_string(PAGE, start=START), mimetype="text/html")
    response.headers["Content-Security-Policy"] = _policy(START)
    return response


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return "; ".join(
        [
            "default-src 'none'",
            "connect-src 'self'",
            "img-src 'self' data:",
            f"script-src 'self' 'sha256-{digest}'",
            "style-src 'self' 'unsafe-inline'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
            "form-action 'none'",
        ]
    )
