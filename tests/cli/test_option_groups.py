"""Dataclasses of options as parameters of commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner
from vocdet_cli.option_groups import Without, grouped


@dataclass(frozen=True, kw_only=True)
class Base:
    low: Annotated[int, typer.Option(help="Base.")] = 1
    made: int = 7  # no option


@dataclass(frozen=True, kw_only=True)
class Extended(Base):
    high: Annotated[int, typer.Option("--top")] = 2


app = typer.Typer()


@app.command()
@grouped
def both(name: str, *, one: Extended, last: bool = False) -> None:
    typer.echo(f"{name} {one} {last}")


@app.command()
@grouped
def fewer(*, one: Annotated[Extended, Without("low")]) -> None:
    typer.echo(one)


def run(*words: str) -> str:
    return CliRunner().invoke(app, words).output.strip()


def test_a_command_receives_a_group_and_offers_its_fields_as_options() -> None:
    assert run("both", "a", "--low", "5", "--top", "6", "--last") == "a Extended(low=5, made=7, high=6) True"
    assert run("both", "a") == "a Extended(low=1, made=7, high=2) False"
    text = run("both", "--help")
    assert text.index("--top") < text.index("--low") < text.index("--last")  # those of the extended group follow
    assert "--made" not in text


def test_a_command_leaves_out_options_of_a_group() -> None:
    assert run("fewer", "--top", "3") == "Extended(low=1, made=7, high=3)"
    assert "No such option: --low" in run("fewer", "--low", "3")
