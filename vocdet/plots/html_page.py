"""Pages of one HTML file each, from bundled templates."""

from __future__ import annotations

from vocdet import __version__
from vocdet.resources import bundled_text


def html_page(name: str, **values: object) -> str:
    """The page of a template, with the style of a report; values are escaped unless they are `Markup`."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, loader=FunctionLoader(bundled_text))
    css = Markup(bundled_text("report/page.css"))  # of vocdet
    return environment.get_template(name).render(css=css, version=__version__, **values)
