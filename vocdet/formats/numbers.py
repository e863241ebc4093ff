"""How a number is written in an annotation file: as people write one, and in no other of the ways Python takes."""

from __future__ import annotations

import re

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)  # float() would take 5_0, ５０ and nan
