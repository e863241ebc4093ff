"""Datasets whose files are links: DVC, git-annex, another disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vocdet.data.dataset import Dataset
from vocdet.errors import AnnotationError, VocdetError
from vocdet.formats import registry
from vocdet.formats.scan import Source

INPUTS = Path("cases", "runs-and-found-inside-the-folder", "in")
NAMES = ("yolo", "labelme", "coco", "labelimg-flat")

REGION = '{"name": "rect", "x": 1, "y": 1, "width": 4, "height": 4}'
ANNOTATIONS = {  # of formats whose files annotate many images
    "boxes.csv": "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,9,9,dog,1,1,5,5\n",
    "via.json": f'{{"a": {{"filename": "a.jpg", "regions": [{{"shape_attributes": {REGION}}}]}}}}',
    "annotations.xml": '<annotations><image id="0" name="a.jpg" width="9" height="9"/></annotations>',
}


def linked_files(store: Path, root: Path) -> int:
    """Make a folder like `store`, of links to its files; their number."""
    files = [path for path in store.rglob("*") if path.is_file()]
    for path in files:
        link = root / path.relative_to(store)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    return len(files)


def facts(dataset: Dataset) -> tuple[object, ...]:
    splits = {name: rows.tolist() for name, rows in dataset.splits.items()}
    return dataset.labels, dataset.images.files, dataset.objects.box.tolist(), splits


@pytest.mark.parametrize("name", NAMES)
def test_a_dataset_of_links_is_that_of_the_files(shared: Path, tmp_path: Path, name: str) -> None:
    store = shared / INPUTS / name
    root = tmp_path / "set"
    count = linked_files(store, root)
    found = registry.read(Source(root))
    assert facts(found.dataset) == facts(registry.read(Source(store)).dataset)
    assert [(one.code, one.count) for one in found.findings if one.code.startswith("path")] == [("path.linked", count)]


@pytest.mark.parametrize("name", NAMES)
def test_a_dataset_of_linked_folders_is_that_of_the_files(shared: Path, tmp_path: Path, name: str) -> None:
    store = shared / INPUTS / name
    root = tmp_path / "set"
    root.mkdir()
    for path in store.iterdir():
        (root / path.name).symlink_to(path)
    found = registry.read(Source(root))
    assert facts(found.dataset) == facts(registry.read(Source(store)).dataset)
    assert [one.code for one in found.findings if one.code.startswith("path")] == ["path.linked"]


@pytest.mark.parametrize("name", NAMES)
def test_links_to_files_that_were_not_fetched_are_named(shared: Path, tmp_path: Path, name: str) -> None:
    root = tmp_path / "set"
    shutil.copytree(shared / INPUTS / name, root)
    images = list(root.rglob("*.jpg"))
    for path in images:
        path.unlink()
        path.symlink_to(tmp_path / "annex" / path.name)
    try:
        texts = [f"{one.problem} {one.hint}" for one in registry.scan(Source(root)).findings]
    except VocdetError as error:
        texts = [str(error)]
    assert any(f"{len(images)} links that lead to no file" in text for text in texts), texts


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_images_of_a_file_for_all_that_were_not_fetched_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(ANNOTATIONS[name])
    (tmp_path / "a.jpg").symlink_to(tmp_path / "annex" / "a.jpg")
    with pytest.raises(AnnotationError, match=r"no images found for 1 .*get the file that it points to"):
        registry.scan(Source(tmp_path))
