"""Text from files on a terminal: nothing in it moves the cursor, changes colors or reverses what follows."""

from __future__ import annotations

from collections.abc import Iterable

from rich import markup
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from vocdet.wording import visible


def escape(text: str) -> str:
    """A text as it stands, in Rich's markup: brackets are no tags, and control characters are visible."""
    return markup.escape(visible(text))


class SafeConsole(Console):
    """A console that never passes on control characters of a text, however it was printed."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments with visible control characters; line ends remain, and what Rich itself controls."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable() or segment.text == "\n":
                yield segment
            else:
                text = "\n".join(map(visible, segment.text.split("\n")))
                yield Segment(text, segment.style)
