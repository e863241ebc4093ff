"""Time a page in Chromium, at the widths of a phone and of a desktop: python -m examples.time_page report.html.

Seconds from navigation to the first paint and to the load event, medians of some visits.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from contextlib import closing
from pathlib import Path

from tests.browser import Browser

TIMES = """(() => {
  const [visit] = performance.getEntriesByType("navigation"), [paint] = performance.getEntriesByName("first-paint");
  return [paint?.startTime ?? NaN, visit.loadEventEnd].map(one => one / 1000);
})()"""


def visit(browser: Browser, page: Path, width: int) -> tuple[float, float]:
    """Seconds to the first paint and to the load event."""
    browser.open(page, width=width)
    browser.wait("performance.getEntriesByName('first-paint').length")
    paint, load = browser.value(TIMES)
    return paint, load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("--visits", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, closing(Browser(Path(folder))) as browser:
        browser.open(arguments.page, width=1600)  # which starts the process that shows files
        for width in (390, 1600):
            visits = [visit(browser, arguments.page, width) for _ in range(arguments.visits)]
            paint, load = (statistics.median(column) for column in zip(*visits, strict=True))
            print(f"{width} pixels: first paint {paint:.2f} s, load {load:.2f} s")


if __name__ == "__main__":
    main()
