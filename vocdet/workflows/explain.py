"""The explanation of a finding, from the page that documents all of them."""

from __future__ import annotations

import difflib
import re
from fnmatch import fnmatchcase

from vocdet.errors import ArgumentError
from vocdet.resources import bundled_text
from vocdet.wording import listed

FINDINGS_PAGE = "findings.md"

_HEADING = re.compile(r"^### (.*)$", re.MULTILINE)
_FINDING_CODE = re.compile(r"`([a-z_*.]+)`")


def explain(code: str) -> str:
    """The section of a finding, in Markdown, without its heading; an `ArgumentError` names similar codes."""
    wanted = code.strip().strip("`").lower()
    sections = read_sections()
    for codes, text in sections:
        if any(fnmatchcase(wanted, pattern) for pattern in codes):
            return text
    known = sorted(code for codes, _ in sections for code in codes)
    raise ArgumentError(f"there is no finding {code!r}", hint=_nearest_hint(wanted, known))


def _nearest_hint(wanted: str, known: list[str]) -> str:
    similar = [code for code in known if wanted and code.startswith(wanted)]
    similar += difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
    similar = similar or [code for code in known if set(wanted.split(".")) & set(code.split("."))]
    if similar:
        return f"did you mean {', '.join(list(dict.fromkeys(similar))[:4])}?"
    return f"there are {listed(known, most=5)}"


def read_sections() -> list[tuple[tuple[str, ...], str]]:
    """The codes of every section of the page (`*` stands for any), and its text."""
    page = bundled_text(FINDINGS_PAGE)
    headings = list(_HEADING.finditer(page))
    sections = []
    for i, heading in enumerate(headings):
        end = headings[i + 1].start() if i + 1 < len(headings) else len(page)
        text = re.split(r"^## ", page[heading.end() : end], maxsplit=1, flags=re.MULTILINE)[0]
        codes = tuple(_FINDING_CODE.findall(heading[1]))
        if codes:
            sections.append((codes, text.strip()))
    return sections
