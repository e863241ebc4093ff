"""Time a page in Chromium, at the widths of a phone and of a desktop: python -m examples.time_page report.html.

Seconds from navigation to the first paint, to the load event and until the page is ready, and the CPU seconds of its
main thread. Each is the median of some visits.
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


def visit(browser: Browser, page: Path, width: int) -> tuple[float, float, float]:
    """Seconds to the first paint and to the load event, and CPU seconds of the main thread until the page is ready."""
    before = tasks(browser)
    browser.open(page, width=width)
    browser.wait("performance.getEntriesByName('first-paint').length")
    paint, load = browser.value(TIMES)
    return paint, load, tasks(browser) - before


def tasks(browser: Browser) -> float:
    """The CPU seconds of the main thread so far."""
    known = {one["name"]: one["value"] for one in browser.send("Performance.getMetrics")["metrics"]}
    return float(known["TaskDuration"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("--visits", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, closing(Browser(Path(folder))) as browser:
        browser.send("Performance.enable", timeDomain="threadTicks")
        for width in (390, 1600):
            visits = [visit(browser, arguments.page, width) for _ in range(arguments.visits)]
            paint, load, cpu = (statistics.median(column) for column in zip(*visits, strict=True))
            print(f"{width} pixels: first paint {paint:.2f} s, load {load:.2f} s, main thread {cpu:.2f} s")


if __name__ == "__main__":
    main()
