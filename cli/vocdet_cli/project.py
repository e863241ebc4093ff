"""`vocdet init` and `vocdet recipes`: start a project."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from vocdet_cli import render
from vocdet_cli.option_groups import Without, grouped
from vocdet_cli.options import ReadOptions
from vocdet_cli.safe import escape

app = typer.Typer()


@app.command()
@grouped
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of the project.", show_default="this folder")
    ] = Path(),
    net: Annotated[
        Literal["mb1", "mb2", "mb3-small", "mb3-large"], typer.Option(help="Network of the recipes.")
    ] = "mb3-small",
    task: Annotated[
        Literal["ssd", "maskrcnn", "backbone"],
        typer.Option(help="ssd or maskrcnn: a classifier and a detector on it; backbone: only the classifier."),
    ] = "ssd",
    data: Annotated[
        Path | None,
        typer.Option(help="Dataset: fills labels.txt and is named in the commands.", show_default="data in DIR"),
    ] = None,
    *,
    read: Annotated[ReadOptions, Without("labels coordinates crowds skip_bad")],
) -> None:
    """Create a project: recipes to edit, a label list, a Slurm script, and a README with the commands.

    Nothing is overwritten: if one of the files exists, none is written.
    """
    from vocdet.workflows.project import init_project

    made = init_project(folder, net=net, task=task, data=read.source(data) if data else None)
    names = ", ".join(path.relative_to(folder).as_posix() for path in made)
    where = "data" if data is None else str(data if folder == Path() else data.absolute())
    check = render.command("check", where, *(render.given(read.format, "--from", "auto") if data else ()))
    then = check if folder == Path() else f"cd {shlex.quote(str(folder))} && {check}"
    if data is None and not (folder / "data").exists():
        render.note(f"put your dataset into {folder / 'data'} first")
    render.done(f"wrote {names} into {folder.absolute()}", then=then)


@app.command()
def recipes(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME|FILE", help="Recipe to print with all its values.", show_default="list them"),
    ] = None,
) -> None:
    """List the bundled recipes, or print one with all its values as TOML."""
    from vocdet.recipes.document import bundled_recipes
    from vocdet.recipes.load import dump_recipe, load_recipe, task_of

    if name is not None:
        task = task_of(name)
        found = load_recipe(task, name)
        text = dump_recipe(found.recipe, task, description=found.description)
        render.out.print(text, markup=False, soft_wrap=True, end="")
        return
    table = render.table("recipes", "name", "task", "net", "size", "what it is")
    for column in table.columns[1:3] + table.columns[4:]:
        column.justify = "left"
    for one in bundled_recipes():
        task = task_of(one)
        resolved = load_recipe(task, one)
        model = resolved.recipe.model
        table.add_row(one, task, model.net, str(model.size), escape(resolved.description))
    render.show(table)
    render.done(f"{table.row_count} recipes", then=render.command("recipes", bundled_recipes()[0]))
