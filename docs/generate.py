"""The pages that are generated: commands, recipes, findings, the quick start, the changelog.

MkDocs calls `on_config` and `on_files` (`hooks` in mkdocs.yml); a test looks for every command in `generated_pages`.
"""

from __future__ import annotations

import dataclasses
import html
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer
from vocdet_cli.app import app

from vocdet.recipes.document import bundled_recipes
from vocdet.recipes.load import load_recipe, task_of
from vocdet.recipes.schema import TASKS
from vocdet.recipes.values import toml
from vocdet.resources import bundled_text

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

# The guide that explains each command. A command that is missing here fails the build and the test.
GUIDES = {
    "audit": "check", "bench": "runs", "check": "check", "compare": "runs", "convert": "convert", "crops": "reshape",
    "demo": "train-ssd", "eval": "evaluate", "export": "export", "fetch": "reshape", "frames": "prelabel",
    "init": "projects", "learning-curve": "evaluate",
    "live": "predict",
    "merge": "reshape", "predict": "predict", "progress": "prelabel", "recipes": "projects", "remap": "reshape",
    "runs": "runs",
    "sample": "reshape", "serve": "serve",
    "split": "split", "stats": "reshape", "thresholds": "evaluate", "train": "train",
    "train-backbone": "train-classifier",
    "train-maskrcnn": "train-maskrcnn", "train-ssd": "train-ssd", "view": "check",
}  # fmt: skip
SECTIONS = {"model": "what is trained", "train": "how", "data": "which images", "augment": "how images vary"}


def on_config(config: Any) -> Any:
    """Put a page for every command into the navigation (MkDocs calls this)."""
    pages = ["commands/index.md", *({name: f"commands/{name}.md"} for name in commands())]
    (reference,) = (group["Reference"] for group in config.nav if "Reference" in group)
    reference.insert(0, {"Commands": pages})
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to the site (MkDocs calls this)."""
    from mkdocs.structure.files import File

    for path, text in generated_pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def generated_pages() -> dict[str, str]:
    """The text of every generated page, by its path below docs/."""
    pages = {f"commands/{name}.md": command_page(name, command) for name, command in commands().items()}
    pages["commands/index.md"] = commands_page()
    pages["findings.md"] = bundled_text("findings.md")
    pages["recipes.md"] = recipes_page()
    pages["quickstart.md"] = notebook_page(json.loads((DOCS / "quickstart.ipynb").read_text(encoding="utf-8")))
    pages["changelog.md"] = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "](")
    return pages


def commands() -> dict[str, Any]:
    """The visible commands of `vocdet`, by name."""
    group: Any = typer.main.get_command(app)
    return {name: command.load() for name, command in sorted(group.commands.items()) if not command.hidden}


def commands_page() -> str:
    """A table of all commands with the first sentence of their help."""
    rows = [[f"[`vocdet {name}`]({name}.md)", first_sentence(command.help)] for name, command in commands().items()]
    return "\n".join(
        [
            "# Commands\n",
            "Every command ends with what it wrote and what to do next. `vocdet COMMAND --help` prints the same as "
            "these pages, which are generated from it. [Exit codes](../environment.md#exit-codes) are documented.\n",
            *table(("Command", "What it does"), rows),
        ]
    )


def command_page(name: str, command: Any) -> str:
    """One command: usage, what it does, arguments and options by panel."""
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join(["vocdet", name, *command.collect_usage_pieces(context)])
    lines = [f"# vocdet {name}\n", "```text", usage, "```\n", *paragraphs(command.help), ""]
    lines.append(f"The guide with examples: [{guide_title(GUIDES[name])}](../guide/{GUIDES[name]}.md).\n")
    panels: dict[str, list[list[str]]] = {}
    for parameter in command.params:
        if record := parameter.get_help_record(context):
            default = "Arguments" if parameter.param_type_name == "argument" else "Options"
            panel = getattr(parameter, "rich_help_panel", None) or default
            panels.setdefault(panel, []).append([spelling(record[0]), meaning(record[1])])
    for panel, rows in panels.items():
        lines += [f"## {panel}\n", *table(("Argument" if panel == "Arguments" else "Option", "Meaning"), rows), ""]
    return "\n".join(lines)


def spelling(typed: str) -> str:
    """How an argument or option is typed, as code: the help's first column without its padding."""
    return code(" ".join(typed.split()))


def meaning(text: str) -> str:
    """The help of an argument or option, with its default as the help prints it."""
    text = html.escape(" ".join(text.split()), quote=False).replace("|", "&#124;")
    return re.sub(r"\s*\[(default: )?\(?(.*?)\)?\]$", lambda found: f" <small>{found[1] or ''}{found[2]}</small>", text)


def recipes_page() -> str:
    """The bundled recipes, and every key of each task with its default."""
    rows = []
    for name in bundled_recipes():
        task = task_of(name)
        resolved = load_recipe(task, name)
        model = resolved.recipe.model
        rows.append([f"[`{name}`](#{name})", task, model.net, str(model.size), resolved.description])
    lines = [
        "# Recipes\n",
        "A recipe names its task and what differs from the defaults; [how to use one](guide/projects.md#recipes). "
        "`vocdet recipes NAME` prints a bundled recipe with all its values.\n",
        "## Bundled recipes\n",
        *table(("Name", "Task", "Net", "Size", "What it is"), rows),
        "",
    ]
    for name in bundled_recipes():
        lines += [f"### {name}\n", "```toml", bundled_text(f"recipes/{name}.toml").rstrip(), "```\n"]
    for task, recipe in TASKS.items():
        lines += [f"## Keys of task {task}\n"]
        made = recipe()
        for section in dataclasses.fields(made):
            values = getattr(made, section.name)
            keys = [
                [code(f"{section.name}.{field.name}"), code(toml(getattr(values, field.name))), limits(field)]
                for field in dataclasses.fields(values)
            ]
            lines += [
                f"**[{section.name}]** {SECTIONS[section.name]}\n",
                *table(("Key", "Default", "Meaning"), keys),
                "",
            ]
    return "\n".join(lines)


def limits(field: dataclasses.Field[Any]) -> str:
    """The help of a recipe's key as a sentence, with its range."""
    text, low, high = (field.metadata.get(key) for key in ("help", "low", "high"))
    text = html.escape(f"{str(text)[:1].upper()}{str(text)[1:]}.", quote=False).replace("|", r"\|")
    return f"{text} From {low:.10g} to {high:.10g}." if low is not None else text


def notebook_page(notebook: dict[str, Any]) -> str:
    """A notebook as Markdown: its text, its code, and what a cell printed as text."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            text = "".join(output.get("text") or output.get("data", {}).get("text/plain") or ())
            if text:
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def guide_title(guide: str) -> str:
    """The heading of a guide."""
    text = (DOCS / "guide" / f"{guide}.md").read_text(encoding="utf-8")
    return text.partition("\n")[0].removeprefix("# ")


def paragraphs(text: str) -> Iterator[str]:
    """Help as paragraphs, without the line ends of the source."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        yield " ".join(paragraph.split()) + "\n"


def first_sentence(text: str) -> str:
    """The first sentence of a help text."""
    return re.split(r"(?<=[.;])\s", " ".join(text.split()))[0].rstrip(";.") + "."


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A Markdown table."""
    columns = list(head)
    yield f"| {' | '.join(columns)} |"
    yield "|" + " --- |" * len(columns)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def code(text: str) -> str:
    """Text as code inside a table cell."""
    return f"<code>{html.escape(text, quote=False).replace('|', '&#124;')}</code>"
