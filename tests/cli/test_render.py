"""What is printed, and where: nothing is cut, nothing is taken for markup, a bar and text do not mix."""

from __future__ import annotations

import io
import signal
import sys
from pathlib import Path

import pytest
from vocdet_cli import render
from vocdet_cli.startup import load_torch

from vocdet.errors import AnnotationError, ManyErrors, Place


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_that_shows_both_streams_is_drawn_by_one_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert render.screen() is render.out
    for other in (io.StringIO(), None):  # a file; closed
        monkeypatch.setattr(sys, "stdout", other)
        assert render.screen() is render.err


def test_a_table_is_not_cut_and_not_taken_for_markup(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "12")
    table = render.table("[bold]a[/] title", "label", "[red]objects")
    table.add_row("a long name of a label", "1000000")
    render.show(table)
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "[bold]a[/] title",
        "label                   [red]objects",
        "a long name of a label       1000000",
    ]


def test_the_same_error_in_two_places_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    places = [Place(Path("a.xml"), 3), Place(Path("b.xml"), 4)]
    render.error(ManyErrors([AnnotationError("is wrong", place=place, hint="fix it") for place in places]))
    assert capsys.readouterr().err == "error: a.xml:3: is wrong\n  also in b.xml:4\n  hint: fix it\n"


def test_a_hint_names_commands_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    render.error(
        AnnotationError("is empty", hint="run `vocdet.split(dataset, force=True)`, or leave out `strict=True`")
    )
    assert capsys.readouterr().err == "error: is empty\n  hint: run vocdet split --force, or leave out --strict\n"
    render.warning("`seed=1` is missing")
    assert capsys.readouterr().err == "warning: --seed 1 is missing\n"


def test_a_printed_command_can_be_pasted() -> None:
    data = render.given(Path("my set"))
    assert render.command("check", *data, *render.given("one", "--coordinates", "auto")) == (
        "vocdet check 'my set' --coordinates one"
    )
    assert render.command("check", *render.given(Path()), *render.given(None, "--labels", None)) == "vocdet check"


def test_loading_torch_leaves_ctrl_c_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOCDET_CPU_TUNING", "0")
    before = signal.getsignal(signal.SIGINT)
    load_torch()
    assert signal.getsignal(signal.SIGINT) is before
