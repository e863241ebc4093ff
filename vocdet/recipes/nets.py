"""The names of networks in recipes and on the command line."""

from __future__ import annotations

import re

from vocdet.errors import RecipeError

MOBILE = ("mb1", "mb2", "mb3-small", "mb3-large")
RESNET = "resnet50"
NARROWEST, WIDEST = 0.1, 2.0  # width multipliers
REGISTERED: list[str] = []  # backbones that users add with `register_backbone`


def mobile_names() -> tuple[str, ...]:
    """The nets that every task trains on: the built-in MobileNets and the registered ones."""
    return (*MOBILE, *REGISTERED)


def net_fault(name: str) -> RecipeError | None:
    """The error in the name of a MobileNet, if any: valid are mb3-large, or mb1-0.25 with a width multiplier."""
    match = re.fullmatch(rf"({'|'.join(mobile_names())})(?:-([0-9]+(?:\.[0-9]+)?|\.[0-9]+))?", name)
    if match and NARROWEST <= float(match[2] or 1) <= WIDEST:
        return None
    hint = (
        f"use {', '.join(mobile_names())}, or one with a width from {NARROWEST} to {WIDEST}: mb1-0.25, mb3-large-0.75"
    )
    if name == RESNET:
        hint = f"only Mask R-CNN and Faster R-CNN have it; {hint}"
    return RecipeError(f"unknown net {name!r}", hint=hint)


def any_net_fault(name: str) -> RecipeError | None:
    """The error in the name of a net, if any: a MobileNet or resnet50."""
    if name == RESNET:
        return None
    error = net_fault(name)
    return error and RecipeError(error.problem, hint=error.hint.replace("use ", f"use {RESNET}, ", 1))
