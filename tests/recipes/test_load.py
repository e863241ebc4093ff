"""Recipe files: strict and typed, with all errors raised together."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vocdet.errors import ManyErrors, VocdetError
from vocdet.recipes.load import dump_recipe, load_recipe, task_of
from vocdet.recipes.schema import TASKS, BackboneRecipe, Recipe, SsdRecipe, changed


def written(folder: Path, text: str | bytes, name: str = "r.toml") -> str:
    """The path of a file with this text; a line `task = "ssd"` stands before it unless it is bytes."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else f'task = "ssd"\n{text}'.encode())
    return str(path)


def faults_of(*arguments: Any, **keywords: Any) -> list[tuple[str, str, str]]:
    """Where in the file, what, and the cure, of everything that is wrong."""
    with pytest.raises(VocdetError) as caught:
        load_recipe(*arguments, **keywords)
    many = caught.value.errors if isinstance(caught.value, ManyErrors) else (caught.value,)
    return [(error.place.inside if error.place else "", error.problem, error.hint) for error in many]


def fault_of(*arguments: Any, **keywords: Any) -> tuple[str, str, str]:
    (fault,) = faults_of(*arguments, **keywords)
    return fault


def test_without_a_recipe_all_values_are_defaults() -> None:
    resolved = load_recipe("ssd")
    assert resolved.recipe == SsdRecipe()
    assert resolved.source == ""
    assert set(resolved.origin.values()) == {"default"}
    assert resolved.origin.keys() >= {"model.net", "train.lr", "data.split", "augment.mosaic"}
    assert load_recipe("backbone").recipe == BackboneRecipe()


def test_values_override_settings_override_the_recipe_overrides_the_defaults(tmp_path: Path) -> None:
    name = written(tmp_path, "[train]\nlr = 1\nepochs = 11\nwarm = 5\n[augment]\nflip = false\n")
    settings = ["train.epochs=12", "train.warm=6", "train.warm=7"]
    resolved = load_recipe("ssd", name, settings=settings, values={"epochs": 13, "net": "mb1-0.25"})
    recipe, origin = resolved.recipe, resolved.origin
    assert (recipe.train.lr, type(recipe.train.lr), origin["train.lr"]) == (1.0, float, "recipe")
    assert (recipe.train.warm, origin["train.warm"]) == (7, "settings")
    assert (recipe.train.epochs, origin["train.epochs"]) == (13, "values")
    assert (recipe.model.net, origin["model.net"]) == ("mb1-0.25", "values")
    assert (recipe.augment.flip, origin["augment.flip"]) == (False, "recipe")
    assert (recipe.train.batch, origin["train.batch"]) == (8, "default")
    assert load_recipe("ssd", values={"backbone_lr": 0.4}).origin["train.backbone_lr"] == "values"


def test_all_errors_are_raised_together_with_keys_and_nearest_matches(tmp_path: Path) -> None:
    name = written(
        tmp_path,
        'lr = 3\ndata = 3\n[trian]\nlr = 3\n[train]\nlr = "fast"\nepochs = 0\nmosaic = 0.4\nsmothing = 0.1\n'
        "[augment]\nmixup = 1.5\nflip = 1\nfoo = 2\n",
    )
    found = {inside: (problem, hint) for inside, problem, hint in faults_of("ssd", name, settings=["train.clip=-1"])}
    assert found == {
        "lr": ("lr is outside of the tables", "it is in [train]: train.lr"),
        "data": ("data is 3, not a table", "write [data] on a separate line, and its values below"),
        "trian": ("unknown table [trian]", "did you mean [train]?"),
        "train.lr": ("lr is 'fast', not a number", "write a number, as in lr = 0.004"),
        "train.epochs": ("epochs is 0", "give a number from 1 to 100000"),
        "train.mosaic": ("[train] has no mosaic", "it is in [augment]: augment.mosaic"),
        "train.smothing": ("[train] has no smothing", "did you mean smoothing?"),
        "augment.mixup": ("mixup is 1.5", "give a number from 0 to 1"),
        "augment.flip": ("flip is 1, not true or false", "write true or false, as in flip = true"),
        "augment.foo": (
            "[augment] has no foo",
            "it has flip, rotate, color, whole, zoom_out, largest_canvas, smallest_crop, mosaic, mixup",
        ),
        "": ("clip is -1.0", "give a number from 0 to 1000000"),  # of a setting, which has no place in a file
    }


def test_an_error_names_the_file_or_the_setting(tmp_path: Path) -> None:
    name = written(tmp_path, "[train]\nlr = 0\n")
    with pytest.raises(VocdetError) as caught:
        load_recipe("ssd", name)
    assert str(caught.value) == f"{name}: train.lr: lr is 0.0 (give a number from 1e-08 to 100)"
    with pytest.raises(VocdetError, match=r"^train\.lr=0: lr is 0\.0"):
        load_recipe("ssd", settings=["train.lr=0"])
    with pytest.raises(VocdetError, match=r"^lr is 0\.0"):
        load_recipe("ssd", values={"lr": 0.0})


@pytest.mark.parametrize(
    ("value", "problem", "hint"),
    [
        ("train.batch = true", "batch is true, not a whole number", "write a whole number, as in batch = 8"),
        ("train.batch = 2.0", "batch is 2.0, not a whole number", "write a whole number, as in batch = 8"),
        ("train.lr = true", "lr is true, not a number", "write a number, as in lr = 0.004"),
        ("train.lr = 07:32:00", "lr is 07:32:00, not a number", "write a number, as in lr = 0.004"),
        ("train.lr = nan", "lr is nan", "give a number from 1e-08 to 100"),
        ("train.minutes = inf", "minutes is inf", "give a number from 0 to 1000000"),
        ("train.warm = inf", "warm is inf, not a whole number", "write a whole number, as in warm = 100"),
        ("train.seed = 99999999999999999999", "seed has more than 64 bits", "write a smaller number, as in seed = 0"),
        ("train.freeze = 3", "freeze is 3", "give one of 0, 2, 4, 8, 16"),
        ("train.best = 1", "best is 1", "give one of ap50, ap, f1, loss"),
        ("train.optimizer = 'adam'", "optimizer is adam", "give one of muon, adamw, sgd, momentum"),
        ("data.cache = []", "cache is a list", "give one of ram, off"),
        ("model.net = 1", "net is 1, not a string in quotes", 'write a string in quotes, as in net = "mb3-large"'),
        ("train.lr.x = 1", "lr is a table, not a number", "write a number, as in lr = 0.004"),
        ("train.steps = 0.5", "steps is 0.5, not a list of numbers", "write a list, as in steps = [0.67, 0.89]"),
        ("train.steps = [0.1, 'x']", "steps[1] is 'x', not a number", "write a number, as in steps = [0.67, 0.89]"),
        ("train.steps = [0.1, 2]", "steps is 2.0", "give a number from 0 to 1"),
        (f"train.best = '{'x' * 99}'", f"best is {'x' * 99}", "give one of ap50, ap, f1, loss"),
        (f"train.lr = '{'x' * 99}'", f"lr is '{'x' * 59}…, not a number", "write a number, as in lr = 0.004"),
        (f"train.flip = 0x{'f' * 6000}", "[train] has no flip", "it is in [augment]: augment.flip"),
        (f"train = 0x{'f' * 6000}", "train is a number of more than 64 bits, not a table", None),
        ("description = 3", "description is 3, not a string", "put it in quotes"),
        ("descripton = 'x'", "a recipe has no descripton", "did you mean description?"),
        ("[[train]]\nlr = 1", "train is a list, not a table", None),
        ('"\\u001b[31m" = 1', "a recipe has no '\\x1b[31m'", "it has task, description, model, train, data, augment"),
    ],
)
def test_an_invalid_value_is_an_error_that_names_the_expected_type(
    tmp_path: Path, value: str, problem: str, hint: str | None
) -> None:
    _, message, cure = fault_of("ssd", written(tmp_path, value))
    assert message == problem
    assert hint is None or cure == hint


def test_a_recipe_of_another_task_is_refused_and_checked_against_that_task(tmp_path: Path) -> None:
    name = written(tmp_path, "[augment]\nmosaic = 0.1\nmixup = 2\n")
    assert faults_of("backbone", name) == [
        ("task", "is a recipe of task ssd, not backbone", "use it for task ssd, or name another recipe"),
        ("augment.mixup", "mixup is 2.0", "give a number from 0 to 1"),
    ]
    assert task_of(name) == "ssd"
    name = written(tmp_path, b'task = "backbone"\n[augment]\nmosaic = 0.1\n')
    fault = ("augment.mosaic", "a recipe of task backbone has no mosaic", "only tasks ssd and maskrcnn have it")
    assert fault_of("backbone", name) == fault
    name = written(tmp_path, b'task = "backbone"\n[augment]\nmixup = 0.1\n')
    assert fault_of("backbone", name)[2] == "only task ssd has it"


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        (b"", "has no task", 'write task = "ssd" at the top'),
        (b'task = "sdd"', "task is 'sdd'", 'did you mean "ssd"?'),
        (b'task = "yolo"', "task is 'yolo'", 'write "backbone" or "ssd" or "maskrcnn"'),
        (b"task = 3", "task is 3", 'write "backbone" or "ssd" or "maskrcnn"'),
    ],
)
def test_a_recipe_must_state_its_task(tmp_path: Path, text: bytes, problem: str, hint: str) -> None:
    name = written(tmp_path, text)
    assert fault_of("ssd", name)[1:] == (problem, hint)
    with pytest.raises(VocdetError) as caught:
        task_of(name)
    assert caught.value.problem == problem


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (b'task = "ssd"\n# \xe9', 0, "is not UTF-8 text"),
        ('task = "ssd"'.encode("utf-16"), 0, "is not UTF-8 text"),
        (b"#" * 40_000, 0, "is larger than 32 kB"),
        (b'task="ssd"\n[train]\nlr=1\nlr=2\n', 4, "is not TOML: a key or a table occurs twice in 'lr=2'"),
        (b'task="ssd"\n[train]\nlr=1\n[train]\n', 4, "is not TOML: a key or a table occurs twice in '[train]'"),
        (b"task = ssd\n", 1, "is not TOML: invalid value in 'task = ssd'"),
        (b'task = "ssd\n', 1, "is not TOML: a string without a closing quote in 'task = \"ssd'"),
        (b'task = "ssd"\n[train]\nlr =', 3, "is not TOML: invalid value in 'lr ='"),
        (b'task = "ssd"\n\x00', 2, "is not TOML: invalid statement in '\\x00'"),
        (b"a = " + b"[" * 20_000, 0, "has too many brackets, or too many digits in a number"),
        (b"a = " + b"9" * 6000, 0, "has too many brackets, or too many digits in a number"),
    ],
)
def test_an_invalid_file_is_an_error_with_its_line(tmp_path: Path, text: bytes, line: int, problem: str) -> None:
    name = written(tmp_path, text)
    with pytest.raises(VocdetError) as caught:
        load_recipe("ssd", name)
    assert caught.value.problem == problem
    assert caught.value.place is not None
    assert (caught.value.place.path, caught.value.place.line) == (Path(name), line)
    assert caught.value.hint


def test_a_byte_order_mark_and_windows_line_endings_are_valid(tmp_path: Path) -> None:
    name = written(tmp_path, b'\xef\xbb\xbftask = "ssd"\r\n[train]\r\nlr = 1e-3\r\n')
    assert load_recipe("ssd", name).recipe.train.lr == 0.001


def test_a_missing_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.toml").mkdir()
    missing = "no recipe can be read: no such file or directory"
    assert fault_of("ssd", "x/nope.toml")[1:] == (missing, "give a file, or the name of a bundled recipe")
    assert fault_of("ssd", "finetun.toml")[1:] == (missing, "did you mean the recipe finetune?")
    assert fault_of("ssd", "folder.toml")[1] == missing  # of the recipe.toml in it
    assert fault_of("ssd", f"{'x' * 999}.toml")[1].startswith("no recipe can be read: ")
    assert fault_of("ssd", "finetun")[1:] == ("unknown recipe 'finetun'", "did you mean finetune?")
    hint = "give the name of a bundled recipe, or a file that ends in .toml"
    assert fault_of("ssd", "[red]")[1:] == ("unknown recipe '[red]'", hint)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    assert fault_of("ssd", str(tmp_path / "pipe.toml"))[1] == "is not a file"


def test_a_run_folder_gives_its_recipe(tmp_path: Path) -> None:
    run = tmp_path / "ssd-mb1-1"
    run.mkdir()
    recipe = changed(SsdRecipe(), lr=0.5, weights="runs/x")
    written(run, dump_recipe(recipe, "ssd").encode(), "recipe.toml")
    resolved = load_recipe("ssd", str(run))
    assert resolved.recipe == recipe
    assert resolved.origin["train.lr"] == "recipe"


def test_a_folder_does_not_hide_a_recipe_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("finetune").mkdir()
    assert load_recipe("ssd", "finetune").recipe.train.freeze_norm is True


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("train.lr=0.5", "lr", 0.5),
        ("train.lr = 1", "lr", 1.0),
        ("model.net=mb1-0.25", "net", "mb1-0.25"),
        ('model.net="mb1"', "net", "mb1"),
        ("model.weights=2024", "weights", "2024"),
        ("model.weights=2024-01-01", "weights", "2024-01-01"),
        ("model.weights=a b/c=d.pth", "weights", "a b/c=d.pth"),
        ("train.optimizer=sgd", "optimizer", "sgd"),
        ("augment.flip=false", "flip", False),
        ("train.steps=[0.5, 0.75]", "steps", (0.5, 0.75)),
        ("train.batch=auto", "batch", 0),
    ],
)
def test_a_setting_is_toml_or_a_word_without_quotes(text: str, field: str, value: object) -> None:
    assert load_recipe("ssd", settings=[text]).recipe == changed(SsdRecipe(), **{field: value})


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("lr=3", "lr is outside of the tables", "it is in [train]: train.lr"),
        ("train.lr", "has no key and value", "write a key and a value, as in train.lr=0.01"),
        ("=3", "has no key and value", "write a key and a value, as in train.lr=0.01"),
        ("train.lr=", "lr is '', not a number", "write a number, as in lr = 0.004"),
        ("train.lr=1\nx=2", "lr is '1\\nx=2', not a number", "write a number, as in lr = 0.004"),
        ("augment.flip=True", "flip is 'True', not true or false", "write true or false, as in flip = true"),
        ("train.flip=true", "[train] has no flip", "it is in [augment]: augment.flip"),
        ("trane.lr=1", "unknown table [trane]", "did you mean [train]?"),
        ("xyz.lr=1", "unknown table [xyz]", "it has [model], [train], [data], [augment]"),
        ("train.lr.x=1", "[train] has no lr.x", "did you mean lr?"),
    ],
)
def test_an_invalid_setting_is_an_error_with_a_hint(text: str, problem: str, hint: str) -> None:
    assert fault_of("ssd", settings=[text])[1:] == (problem, hint)


def test_a_path_that_is_not_utf_8_is_refused() -> None:
    assert fault_of("ssd", values={"weights": "\udce9.pth"})[1] == "weights is '\\udce9.pth', which is not UTF-8"


def test_a_value_that_no_recipe_has_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="no recipe of task backbone has mosaic"):
        load_recipe("backbone", values={"mosaic": 0.5})


def values_of(field: dataclasses.Field[Any], type_: Any) -> st.SearchStrategy[Any]:
    """Any value that a field may have."""
    low, high, choices, fault = (field.metadata[key] for key in ("low", "high", "choices", "fault"))
    if choices or get_origin(type_) is Literal:
        return st.sampled_from(choices or get_args(type_))
    if field.name == "scales":
        return st.tuples(st.floats(low, 1), st.floats(1, high))
    if get_origin(type_) is tuple:
        return st.lists(st.floats(low, high), max_size=4).map(tuple)
    if field.name == "split":
        return st.sampled_from(["train", "fold1_train"])
    if type_ in (bool, str):
        nets = st.sampled_from(["mb1", "mb3-large-0.75", "mb2-1.4"])
        return st.booleans() if type_ is bool else nets if field.name == "net" else st.text()
    if type_ is int and fault:
        return st.sampled_from([value for value in (0, 8, 64, 96, 320, high) if fault(value) is None])
    return st.integers(low, high) if type_ is int else st.floats(low, high)


@st.composite
def recipes(draw: st.DrawFn) -> tuple[str, Recipe]:
    """A task and any recipe of it."""
    task = draw(st.sampled_from(sorted(TASKS)))
    recipe: Any = TASKS[task]()
    for split in dataclasses.fields(recipe):
        section = type(getattr(recipe, split.name))
        types = get_type_hints(section)
        drawn = {field.name: draw(values_of(field, types[field.name])) for field in dataclasses.fields(section)}
        recipe = dataclasses.replace(recipe, **{split.name: section(**drawn)})
    return task, recipe


@settings(max_examples=25, deadline=None)
@given(recipes())
def test_a_dumped_recipe_loads_as_the_same_recipe(tmp_path_factory: pytest.TempPathFactory, made: Any) -> None:
    task, recipe = made
    folder = tmp_path_factory.mktemp("recipe")
    name = written(folder, dump_recipe(recipe, task, description="é \"'\n\\").encode())
    resolved = load_recipe(task, name)
    assert resolved.recipe == recipe
    assert resolved.description == "é \"'\n\\"


def test_a_dumped_recipe_explains_its_values() -> None:
    lines = dump_recipe(SsdRecipe(), "ssd").splitlines()
    assert lines[0] == 'task = "ssd"'
    assert "lr = 0.004                    # highest learning rate" in lines
    lines = dump_recipe(SsdRecipe(), "ssd", notes={"train.lr": "--lr"}).splitlines()
    assert "lr = 0.004                    # --lr" in lines
    assert "batch = 8" in lines


def test_a_line_break_in_a_file_name_does_not_break_a_dumped_recipe(tmp_path: Path) -> None:
    notes = {"train.lr": "a\nepochs = 3\x1b"}
    name = written(tmp_path, dump_recipe(SsdRecipe(), "ssd", notes=notes).encode())
    assert load_recipe("ssd", name).recipe == SsdRecipe()
