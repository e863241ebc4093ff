"""What a finding means, from the page that explains all of them."""

from __future__ import annotations

import difflib
import re
from fnmatch import fnmatchcase

from vocdet.errors import VocdetError
from vocdet.resources import bundled_text

PAGE = "findings.md"

_HEADING = re.compile(r"^### (.*)$", re.MULTILINE)
_CODE = re.compile(r"`([a-z_*.]+)`")


def explain(code: str) -> str:
    """The section of a finding, in Markdown, without heading; a `VocdetError` names the nearest code there is."""
    wanted = code.strip().strip("`").lower()
    sections = read_sections()
    for codes, text in sections:
        if any(fnmatchcase(wanted, one) for one in codes):
            return text
    known = sorted(one for codes, _ in sections for one in codes)
    alike = [one for one in known if wanted and one.startswith(wanted)]
    alike += difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
    alike = alike or [one for one in known if set(wanted.split(".")) & set(one.split("."))]
    hint = (
        f"did you mean {', '.join(list(dict.fromkeys(alike))[:4])}?"
        if alike
        else f"there are {', '.join(known[:5])} and {len(known)} in all"
    )
    raise VocdetError(f"there is no finding {code!r}", hint=hint)


def read_sections() -> list[tuple[tuple[str, ...], str]]:
    """The codes of every section of the page (`*` stands for any), and its text."""
    page = bundled_text(PAGE)
    headings = list(_HEADING.finditer(page))
    found = []
    for i, heading in enumerate(headings):
        end = headings[i + 1].start() if i + 1 < len(headings) else len(page)
        text = re.split(r"^## ", page[heading.end() : end], maxsplit=1, flags=re.MULTILINE)[0]
        codes = tuple(_CODE.findall(heading[1]))
        if codes:
            found.append((codes, text.strip()))
    return found
