"""Fonts for the texts of a plot, and substitutes for texts that no font can draw."""

from __future__ import annotations

from collections.abc import Sequence

BASE_FONT = "DejaVu Sans"  # bundled with matplotlib


def drawable(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """The texts that a plot can draw, and the font families for them, in order of preference.

    A text with a character that no installed font has becomes `#` and its number, from 1.
    """
    from matplotlib import font_manager

    fonts = {font.name: font.fname for font in reversed(font_manager.fontManager.ttflist) if font.style == "normal"}
    others = sorted(name for name in fonts if name != BASE_FONT and not name.startswith("Last Resort"))
    missing = {ord(character) for text in texts for character in text}
    missing -= _characters(font_manager.findfont(BASE_FONT))
    families = [BASE_FONT]
    for name in others:
        if missing and (drawn := missing & _characters(fonts[name])):
            families.append(name)
            missing -= drawn
    return [f"#{i}" if missing & set(map(ord, text)) else text for i, text in enumerate(texts, 1)], families


def shortened(text: str, longest: int) -> str:
    """A text of at most `longest` characters, shortened in the middle: names often differ only at their ends."""
    if len(text) <= longest:
        return text
    tail = (longest - 1) // 3
    return f"{text[: longest - 1 - tail]}…{text[len(text) - tail :]}"


def _characters(path: str) -> set[int]:
    from matplotlib import font_manager

    try:
        return set(font_manager.get_font(path).get_charmap())
    except (OSError, RuntimeError):  # a broken font among those installed
        return set()
