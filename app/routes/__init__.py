"""The API: a blueprint a topic, in a module of its own."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from flask import Flask


def init_app(app: Flask) -> None:
    """Register the `blueprint` of each module here, under /api unless it names a prefix.

    What a module offers as `root_blueprint` is at the root.
    """
    for found in iter_modules(__path__):
        module = import_module(f"{__name__}.{found.name}")
        if blueprint := getattr(module, "blueprint", None):
            app.register_blueprint(blueprint, url_prefix=blueprint.url_prefix or "/api")
        if root := getattr(module, "root_blueprint", None):
            app.register_blueprint(root, name=f"root_{root.name}", url_prefix="")
