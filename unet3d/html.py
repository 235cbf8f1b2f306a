"""HTML pages that are one file each and need no network: templates with CSS and scripts inlined."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup


def render(template: str, **values: object) -> str:
    """A page from a template of the package, named by its path in `unet3d`.

    Values are escaped. Templates extend `base.html`, the frame, and have `inline(path)` for the
    package's own CSS and JavaScript, and `| tojson` for data, which cannot end its <script>.
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["inline"] = lambda path: Markup(_source(path).strip())
    return environment


def _source(path: str) -> str:
    return files("unet3d").joinpath(path).read_text("utf-8")
