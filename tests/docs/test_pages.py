"""The documentation is complete: a page for every command, blocks that run or say why not, lines that parse."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from lxml import etree
from vocdet_cli.app import app

from tests.docs.conftest import DOCS, LANGUAGES, PAGES, ROOT, Block, blocks, generator

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LAZY: Any = typer.main.get_command(app)
COMMANDS = {name: command.load() for name, command in LAZY.commands.items()}
BLOCKS = [block for page in PAGES for block in blocks(page)]
README = ROOT / "README.md"
OF_OTHERS = {
    "--help",
    "--index-url",
    "--nodes",
    "--nproc-per-node",
    "--logdir",
    "--objects",
}  # options of pip, sbatch, torchrun, tensorboard, and of examples


@pytest.fixture(scope="module")
def page_texts() -> Any:
    """The generated pages by path."""
    return generator().generated_pages()


def test_every_command_has_its_page_with_all_its_options(page_texts: Any) -> None:
    for command_name, command in COMMANDS.items():
        if command.hidden:
            assert f"commands/{command_name}.md" not in page_texts
            continue
        page = page_texts[f"commands/{command_name}.md"]
        assert page.startswith(f"# vocdet {command_name}\n")
        assert f"({command_name}.md)" in page_texts["commands/index.md"]
        for parameter in command.params:
            for option in parameter.opts if parameter.param_type_name == "option" else ():
                assert option in page, f"{command_name} {option}"


def test_every_bundled_recipe_and_every_key_is_in_the_recipe_page(page_texts: Any) -> None:
    page = page_texts["recipes.md"]
    for path in (ROOT / "templates" / "recipes").glob("*.toml"):
        assert f"### {path.stem}\n" in page
    assert {"train.lr", "model.net", "augment.copy_paste"} <= set(re.findall(r"<code>(\w+\.\w+)</code>", page))


def test_the_notebook_page_holds_every_cell(page_texts: Any) -> None:
    page = page_texts["quickstart.md"]
    assert page.startswith("# Quick start\n")
    assert page.count("```python") == 5


def test_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    for page in DOCS.rglob("*.md"):
        assert page.relative_to(DOCS).as_posix() in nav


def test_a_block_names_its_language_and_a_reason_if_it_does_not_run() -> None:
    assert [str(block) for block in BLOCKS if block.language not in LANGUAGES] == []
    assert [str(block) for block in BLOCKS if not block.notes.keys() <= {"no-run", "folder"}] == []
    for block in BLOCKS:
        if block.language == "toml":
            tomllib.loads(block.text)
        if block.language == "xml":
            etree.fromstring(block.text)
        if block.language == "python":
            compile(block.text, str(block), "exec")


def test_pages_have_no_indented_code() -> None:
    """An indented block would be no fence, and escape these tests."""
    assert [name(page) for page in PAGES if re.search(r"\n\n    \S", prose(page))] == []


def test_every_command_line_parses() -> None:
    assert [fault for block in BLOCKS if block.language == "sh" for fault in parse_faults(block)] == []


def test_commands_and_options_in_the_text_exist() -> None:
    known = {o for command in COMMANDS.values() for p in command.params for o in (*p.opts, *p.secondary_opts)}
    wrong = []
    for page in PAGES:
        for text in re.findall(r"`vocdet ([a-z-]+[^`\n]*)`", prose(page)):
            command, *words = text.split()
            parameters = COMMANDS[command].params if command in COMMANDS else ()
            options = {option for p in parameters for option in (*p.opts, *p.secondary_opts)}
            if not parameters or not {word for word in words if word.startswith("--")} <= options | {"--help"}:
                wrong.append(f"{name(page)}: vocdet {text}")
        unknown = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", prose(page))) - known - OF_OTHERS
        wrong += [f"{name(page)}: {option}" for option in sorted(unknown)]
    assert wrong == []


def test_links_lead_to_files(page_texts: Any) -> None:
    generated = {DOCS / path for path in page_texts}
    links = [
        (page, target)
        for page in PAGES
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8"))
    ]
    assert [
        f"{name(page)}: {target}"
        for page, target in links
        if not (page.parent / target).exists() and (page.parent / target).resolve() not in generated
    ] == []


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """The text of a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def parse_faults(block: Block) -> Iterator[str]:
    """What Typer says against the vocdet lines of a shell block; nothing is run."""
    for line in block.commands:
        words = shlex.split(re.sub(r"\s>\s*\S+", "", line))
        if words[:2] == ["vocdet", "--version"] or words[0] != "vocdet":
            continue
        try:
            COMMANDS[words[1]].make_context(words[1], words[2:])
        except Exception as error:  # of the Click that Typer brings along
            yield f"{block}: {line}: {error!r}"


def test_the_readme_is_short_and_begins_with_the_two_targets() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert {"make demo", "make test"} <= {line[:9] for line in lines[:20]}


def test_pictures_are_small() -> None:
    for picture in (DOCS / "images").iterdir():
        assert picture.stat().st_size <= 150_000, picture


def test_the_picture_of_the_floors_names_every_floor() -> None:
    from tests.test_floors import FLOORS

    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    rows = [re.findall(r"<span>([a-z]+)", row) for row in re.findall(r"^<div>(<span>.*)</div>$", page, re.MULTILINE)]
    assert [set(row) for row in reversed(rows[1:-1])] == [set(floor) for floor in FLOORS]


def test_the_api_page_documents_every_public_name() -> None:
    import vocdet

    documented = re.findall(r"^::: vocdet\.(\w+)$", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(documented) == sorted(set(vocdet.__all__) - {"__version__"})
