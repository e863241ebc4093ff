"""Files that were made to do harm: they get a verdict in time, and nothing outside the dataset is read or written."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
from lxml import etree
from PIL import Image

import vocdet
from vocdet.data.dataset import Dataset
from vocdet.data.findings import raise_errors
from vocdet.errors import ManyErrors, OutputError, VocdetError
from vocdet.formats import registry
from vocdet.formats.scan import Source
from vocdet.outputs import MARKER
from vocdet.workflows.check import check_dataset
from vocdet.workflows.convert import ConvertReport, WrittenFormat, convert, write_dataset

SECRET = "CANARY-do-not-read"
SECRET_SIZE = 13, 17
BOX = "<bndbox><xmin>11</xmin><ymin>21</ymin><xmax>50</xmax><ymax>60</ymax></bndbox>"
OBJECT = f"<object><name>dog</name>{BOX}</object>"
SIZE = "<size><width>100</width><height>80</height><depth>3</depth></size>"
FILENAME = "<filename>a.jpg</filename>"
TARGETS = get_args(WrittenFormat)
EXACT = ("voc", "coco")  # give back every box and flag
LONGEST = 10  # seconds for one verdict


@pytest.fixture(scope="session")
def touched() -> list[tuple[str, str]]:
    """What Python does to files and the network from now on: an audit hook stays for good, so there is one."""
    events: list[tuple[str, str]] = []
    watched = {"open", "os.listdir", "os.scandir", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link",
               "os.symlink", "shutil.copyfile", "socket.connect", "socket.getaddrinfo", "subprocess.Popen"}  # fmt: skip

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event in watched and not isinstance(arguments[0], int):  # of what is open already
            events.append((event, os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes, Path)) else ""))

    sys.addaudithook(note)
    return events


class Place:
    """A folder with a dataset and, beside it, what nobody is to see."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "set"
        self.outside = folder / "outside"
        self.root.mkdir()
        self.outside.mkdir()
        (self.outside / "secret.txt").write_text(SECRET)
        (self.outside / "secret.xml").write_text(f"<annotation>{SIZE}{OBJECT.replace('dog', SECRET)}</annotation>")
        (self.outside / "secret.json").write_text(coco_text(categories=[{"id": 1, "name": SECRET}]))
        picture(self.outside / "secret.jpg", SECRET_SIZE)
        picture(self.outside / "a.jpg", SECRET_SIZE)

    def voc(self, xml: str | bytes | None = None, *, image: str = "a.jpg") -> Path:
        xml = f"<annotation>{FILENAME}{SIZE}{OBJECT}</annotation>" if xml is None else xml
        write(self.root / "Annotations" / "a.xml", xml)
        if image:
            picture(self.root / "JPEGImages" / image)
        return self.root

    def coco(self, text: str | bytes | None = None, **more: Any) -> Path:
        write(self.root / "annotations" / "instances.json", coco_text(**more) if text is None else text)
        picture(self.root / "images" / "a.jpg")
        return self.root

    def yolo(self, yaml: str = "names: [dog]\n", *, rows: str | bytes = "0 0.5 0.5 0.2 0.2\n") -> Path:
        write(self.root / "data.yaml", yaml)
        write(self.root / "labels" / "a.txt", rows)
        picture(self.root / "images" / "a.jpg")
        return self.root

    def labelme(self, **more: Any) -> Path:
        shape = {"label": "dog", "points": [[11, 21], [50, 60]], "shape_type": "rectangle"}
        said = {"shapes": [shape], "imagePath": "a.jpg", "imageWidth": 100, "imageHeight": 80, "imageData": None}
        write(self.root / "a.json", json.dumps(said | more))
        picture(self.root / "a.jpg")
        return self.root


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def picture(path: Path, size: tuple[int, int] = (100, 80)) -> None:
    write(path, a_jpeg(size))


@cache
def a_jpeg(size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (90, 60, 30)).save(file, "JPEG")
    return file.getvalue()


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def coco_text(**more: Any) -> str:
    whole: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 80}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [11, 21, 39, 39]}],
        "categories": [{"id": 1, "name": "dog"}],
    }
    return json.dumps(whole | more)


def coco_annotation(**more: Any) -> list[dict[str, Any]]:
    return [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [11, 21, 39, 39], **more}]


def coco_image(**more: Any) -> list[dict[str, Any]]:
    return [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 80, **more}]


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """Fail instead of waiting for ever, as for a pipe that nobody writes to."""

    def late(*_: object) -> None:
        raise TimeoutError(f"no verdict in {LONGEST} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def errors_of(error: VocdetError) -> list[VocdetError]:
    return list(error.errors) if isinstance(error, ManyErrors) else [error]


def snapshot(folder: Path) -> dict[str, object]:
    """All that is in a folder, but for what is in `set` and what was converted."""
    found: dict[str, object] = {}
    for above, folders, names in os.walk(folder):
        if above == str(folder):
            folders[:] = [name for name in folders if name != "set" and name not in TARGETS]
        for name in names:
            found[f"{above}/{name}"] = Path(above, name).read_bytes()
        found |= dict.fromkeys((f"{above}/{name}" for name in folders), None)
    return found


Verdicts = dict[str, set[str]]


def verdicts(place: Place, touched: list[tuple[str, str]], root: Path | None = None) -> Verdicts:
    """The codes check gives, and for every format whether it could be written ("written") or why not.

    Holds, whatever the dataset: all ends in time, in a verdict that names the file; nothing outside the dataset and
    the target is opened, listed, made or told; what was written is sound, and reads as the same dataset again.
    """
    root = root or place.root
    before = snapshot(place.folder)
    found: Verdicts = {}
    with in_time():
        found["check"], _ = judged(place, touched, lambda: [one.code for one in check_dataset(Source(root)).findings])
    unread = False  # then it is so whatever is to be written, and once is enough
    read: list[ConvertReport] = []
    for to in TARGETS:
        target = place.folder / to
        if unread:
            found[to] = found[TARGETS[0]]
            continue
        with in_time():
            found[to], unread = judged(place, touched, partial(written_codes, root, target, to, read), target)
        assert target.exists() == ("written" in found[to])
        if target.exists():
            sound(place, read[0].dataset, target, to)
    assert snapshot(place.folder) == before
    return found


def written_codes(root: Path, target: Path, to: WrittenFormat, read: list[ConvertReport]) -> list[str]:
    """Convert a dataset; once a conversion has read it, only write what that has read."""
    if read:
        write_dataset(read[0].dataset, target, to)
    else:
        read.append(convert(Source(root), target, to=to))
    return ["written", *(one.code for one in read[0].warnings)]


def judged(
    place: Place, touched: list[tuple[str, str]], run: Callable[[], list[str]], target: Path | None = None
) -> tuple[set[str], bool]:
    """The codes or problems of a run that touched what it may; and whether it failed before it wrote anything."""
    touched.clear()
    unread = False
    try:
        codes = set(run())
    except VocdetError as error:
        unread = not any(isinstance(one, OutputError) for one in errors_of(error))
        for one in errors_of(error):
            assert one.place is not None, one
            assert one.place.path.is_relative_to(place.root) or (target and one.place.path.is_relative_to(target)), one
            assert SECRET not in str(one)
        codes = {one.problem for one in errors_of(error)}
    new = [str(target), f"{place.folder}/.{target.name}."] if target else []
    code = (sys.prefix, sys.base_prefix, str(Path(vocdet.__file__).parents[1]), "/dev/null")
    for event, name in dict.fromkeys(touched):
        made = bool(target) and (name == str(place.folder) or name.startswith(tuple(new)))
        deleted = "/" not in name and not set(name) <= {"."}  # by shutil.rmtree, from the folder it is in
        loaded = event in ("open", "os.listdir", "os.scandir") and name.startswith(code)
        if made or deleted or loaded:
            continue
        real = Path(name).resolve()
        linked = str(real).startswith(f"{place.outside}/kept")  # where a link in the dataset leads
        assert linked or real.is_relative_to(place.root), (event, name)
    touched.clear()
    return codes, unread


def sound(place: Place, dataset: Dataset, target: Path, to: WrittenFormat) -> None:
    """Fail unless what was written is well-formed, finite, tells no secret, and is the same dataset again."""
    for path in target.rglob("*"):
        assert path.resolve().is_relative_to(target)
        assert not path.is_symlink()
        if path.is_dir():
            continue
        data = path.read_bytes()
        assert SECRET.encode() not in data
        if path.suffix == ".json":
            json.loads(data, parse_constant=pytest.fail)
        elif path.suffix == ".xml":
            etree.fromstring(data)
        elif path.suffix.lower() == ".jpg" and data.startswith(b"\xff\xd8"):
            with Image.open(path) as image:
                assert image.size != SECRET_SIZE
    found = registry.scan(Source(target, format=to))
    raise_errors([one for one in found.findings if not one.code.startswith("box.")])
    same(dataset, found.dataset, exact=to in EXACT)
    if to == "voc":  # which keeps all that is odd
        again = place.folder / "again"
        convert(Source(target, format=to), again, to="coco")
        shutil.rmtree(again)


def same(dataset: Dataset, back: Dataset, *, exact: bool) -> None:
    assert len(back) == len(dataset)
    if exact:
        assert content(back) == content(dataset)


def content(dataset: Dataset) -> list[tuple[str, list[tuple[str, list[float], bool, bool]]]]:
    return sorted(
        (scene.stem.rpartition("/")[2],
         sorted((dataset.labels[label], box, bool(difficult), bool(crowd)) for label, box, difficult, crowd in zip(
             scene.objects.label, scene.objects.box.tolist(), scene.objects.difficult, scene.objects.crowd,
             strict=True)))
        for scene in dataset
    )  # fmt: skip


def refused(found: Verdicts) -> bool:
    return not any("written" in found[to] for to in TARGETS)


def written(found: Verdicts) -> bool:
    return all("written" in found[to] for to in TARGETS)


def test_a_harmless_dataset_is_written(place: Place, touched: list[tuple[str, str]]) -> None:
    assert written(verdicts(place, touched, place.voc()))


def entities(count: int) -> str:
    nested = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, count))
    return f'<!DOCTYPE annotation [<!ENTITY e0 "ha">{nested}]>'


DOCTYPES = {
    "billion laughs": entities(10),
    "quadratic": f'<!DOCTYPE annotation [<!ENTITY e9 "{"a" * 50_000}">]>',
    "to itself": '<!DOCTYPE annotation [<!ENTITY e9 "&e8;"><!ENTITY e8 "&e9;">]>',
    "a file": '<!DOCTYPE annotation [<!ENTITY e9 SYSTEM "file://OUTSIDE/secret.txt">]>',
    "a file beside": '<!DOCTYPE annotation [<!ENTITY e9 SYSTEM "../../outside/secret.txt">]>',
    "a device": '<!DOCTYPE annotation [<!ENTITY e9 SYSTEM "file:///dev/zero">]>',
    "a server": '<!DOCTYPE annotation [<!ENTITY e9 SYSTEM "http://127.0.0.1:PORT/x">]>',
    "a parameter": '<!DOCTYPE annotation [<!ENTITY % p SYSTEM "http://127.0.0.1:PORT/x.dtd"> %p;]>',
    "a parameter file": '<!DOCTYPE annotation [<!ENTITY % p SYSTEM "file://OUTSIDE/secret.txt"> %p;]>',
    "an external subset": '<!DOCTYPE annotation SYSTEM "http://127.0.0.1:PORT/x.dtd">',
    "a public subset": '<!DOCTYPE annotation PUBLIC "-//x//EN" "http://127.0.0.1:PORT/x.dtd">',
    "a default attribute": '<!DOCTYPE annotation [<!ATTLIST annotation verified CDATA "yes">]>',
    "nothing": "<!DOCTYPE annotation>",
}


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A socket nobody is to connect to."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening
        with pytest.raises(BlockingIOError):
            listening.accept()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("kind", DOCTYPES)
def test_no_doctype_is_followed(
    place: Place, touched: list[tuple[str, str]], server: socket.socket, kind: str, encoding: str
) -> None:
    doctype = DOCTYPES[kind].replace("OUTSIDE", str(place.outside)).replace("PORT", str(server.getsockname()[1]))
    uses = OBJECT.replace("dog", "&e9;" * (200 if kind == "quadratic" else 1) if "e9" in doctype else "dog")
    xml = f'<?xml version="1.0" encoding="{encoding}"?>{doctype}<annotation>{FILENAME}{SIZE}{uses}</annotation>'
    found = verdicts(place, touched, place.voc(xml.encode(encoding)))
    assert found["check"] in ({"xml.dtd"}, {"xml.syntax"})
    assert refused(found)


def test_what_an_include_names_is_not_included(place: Place, touched: list[tuple[str, str]]) -> None:
    include = (
        '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" '
        f'href="file://{place.outside}/secret.txt" parse="text"/>'
    )
    found = verdicts(place, touched, place.voc(f"<annotation>{FILENAME}{SIZE}{include}{OBJECT}</annotation>"))
    assert written(found)
    assert "voc.tag.unknown" in found["check"]


@pytest.mark.parametrize(
    ("xml", "code"),
    [
        ("<a>" * 100_000 + "</a>" * 100_000, "xml.syntax"),
        ("<a>" * 300_000, "xml.syntax"),
        (f"<x>{'y' * 11_000_000}</x>", "xml.syntax"),
        (f"<x y='{'z' * 11_000_000}'/>", "xml.syntax"),
        ("<x>" + "y" * 17_000_000, "xml.too_big"),
        (f"<!--{'y' * 11_000_000}-->", "xml.syntax"),
        ("<name>dog</name>" * 100_000, "voc.tag.unknown"),
        (f"<x {' '.join(f'a{i}={chr(34)}1{chr(34)}' for i in range(20_000))}/>", "voc.tag.unknown"),
        (f"<x {' '.join(f'xmlns:a{i}={chr(34)}u{chr(34)}' for i in range(2_000))}/>", "voc.tag.unknown"),
        (f"<{'x' * 40_000}/>", "voc.tag.unknown"),
    ],
    ids=["deep", "deep and open", "11 MB text", "11 MB attribute", "17 MB", "11 MB comment", "100,000 tags",
         "20,000 attributes", "2,000 namespaces", "long name"],
)  # fmt: skip
def test_what_is_meant_to_fill_the_memory_gets_a_verdict(
    place: Place, touched: list[tuple[str, str]], xml: str, code: str
) -> None:
    found = verdicts(place, touched, place.voc(f"<annotation>{FILENAME}{SIZE}{xml}{OBJECT}</annotation>"))
    assert code in found["check"]
    assert written(found) == (code == "voc.tag.unknown")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (OBJECT.replace("dog", "狗").encode("gbk"), "xml.encoding"),
        (OBJECT.replace("dog", "café").encode("latin-1"), "xml.encoding"),
        (b"\xff\xfe" + OBJECT.encode("utf-16-le") + b"\x00", "xml."),
        (OBJECT.encode("utf-16-le"), "xml."),
        (OBJECT.encode() + b"\0\0\0", "xml.syntax"),
        (b"\0" * 1000, "xml.empty"),
        (b"\xef\xbb\xbf", "xml."),
        (b"\x1f\x8b\x08" + bytes(range(256)), "xml."),
    ],
    ids=["gbk", "latin-1", "cut utf-16", "utf-16 without mark", "zeros behind", "zeros", "only a mark", "gzip"],
)  # fmt: skip
def test_undecodable_bytes_are_refused(place: Place, touched: list[tuple[str, str]], data: bytes, code: str) -> None:
    begin, end = f"<annotation>{FILENAME}{SIZE}", "</annotation>"
    whole = data
    if b"<" in data and not data.startswith((b"\xff\xfe", b"<\0")):
        whole = begin.encode() + data.removesuffix(b"\0\0\0") + end.encode() + (b"\0\0\0" * data.endswith(b"\0"))
    elif b"<" in data:
        whole = data.replace(b"<\0o", begin.encode("utf-16-le") + b"<\0o", 1) + end.encode("utf-16-le")
    found = verdicts(place, touched, place.voc(whole))
    assert refused(found)
    assert any(one.startswith(code) for one in found["check"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "gbk", "gb18030", "big5", "shift_jis"])
def test_declared_encodings_are_read(place: Place, touched: list[tuple[str, str]], encoding: str) -> None:
    said = {"utf-8-sig": "utf-8"}.get(encoding, encoding)
    xml = (
        f'<?xml version="1.0" encoding="{said}"?><annotation>{FILENAME}{SIZE}{OBJECT.replace("dog", "犬")}</annotation>'
    )
    root = place.voc(xml.encode(encoding))
    assert written(verdicts(place, touched, root))
    assert check_dataset(Source(root)).dataset.labels == ("犬",)


def test_cdata_comments_and_instructions_are_text_and_nothing(place: Place, touched: list[tuple[str, str]]) -> None:
    odd = OBJECT.replace("dog", "<![CDATA[a<b>&amp;]]><!-- x -->c").replace("11", "1<?php 9?>1")
    root = place.voc(f"<annotation>{FILENAME}{SIZE}<!-- y -->{odd}</annotation>")
    assert written(verdicts(place, touched, root))
    dataset = check_dataset(Source(root)).dataset
    assert dataset.labels == ("a<b>&amp;c",)
    assert dataset.objects.box.tolist() == [[11, 21, 50, 60]]


ELSEWHERE = [
    "../../outside/secret.jpg",
    "../outside/a.jpg",
    "..\\..\\outside\\a.jpg",
    "OUTSIDE/secret.jpg",
    "OUTSIDE/a.jpg",
    "file://OUTSIDE/a.jpg",
    "/etc/passwd",
    "/dev/zero",
    "//server/share/a.jpg",
    "\\\\server\\share\\a.jpg",
    "C:\\outside\\a.jpg",
    "C:a.jpg",
    "~/a.jpg",
    "$HOME/a.jpg",
    "./.././set/../../outside/a.jpg",
    "JPEGImages/../../../outside/a.jpg",
    "CON",
    "NUL.jpg",
    "aux",
    "..",
    "../..",
    ".",
    "/",
    "\\",
    " ",
    "a.jpg/../../../outside/a.jpg",
    "http://127.0.0.1/a.jpg",
    "-rf.jpg",
    "a\nb.jpg",
    "a\u202egpj.jpg",
    "x" * 300 + ".jpg",
    "a" * 100_000,
]


@pytest.mark.parametrize("name", ELSEWHERE)
@pytest.mark.parametrize("image", ["a.jpg", ""], ids=["image", "no image"])
def test_no_name_in_an_xml_leads_elsewhere(place: Place, touched: list[tuple[str, str]], name: str, image: str) -> None:
    name = name.replace("OUTSIDE", str(place.outside))
    header = f"<folder>{name}</folder><filename>{name}</filename><path>{name}</path>"
    root = place.voc(f"<annotation>{header}{SIZE}{OBJECT}</annotation>", image=image or "other.jpg")
    found = verdicts(place, touched, root)
    assert written(found) == bool(image)
    assert image or "image.missing" in found["check"]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_no_name_in_a_coco_file_leads_elsewhere(place: Place, touched: list[tuple[str, str]], name: str) -> None:
    name = name.replace("OUTSIDE", str(place.outside))
    found = verdicts(place, touched, place.coco(images=coco_image(file_name=name)))
    named_like_it = name.endswith(("/a.jpg", "\\a.jpg"))  # an image of the dataset
    assert written(found) if named_like_it else name == "C:a.jpg" or refused(found)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_no_path_in_a_data_yaml_leads_elsewhere(place: Place, touched: list[tuple[str, str]], name: str) -> None:
    name = name.replace("OUTSIDE", str(place.outside))
    quoted = json.dumps(name)
    lists = "".join(f"{key}: {quoted}\n" for key in ("path", "train", "val", "test", "download"))
    verdicts(place, touched, place.yolo(f"{lists}names: [dog]\n"))


@pytest.mark.parametrize("name", ELSEWHERE)
def test_no_line_of_a_list_leads_elsewhere(place: Place, touched: list[tuple[str, str]], name: str) -> None:
    name = name.replace("OUTSIDE", str(place.outside))
    root = place.yolo()
    for part in ("train", "val"):
        write(root / f"{part}.txt", f"{name}\nimages/a.jpg\n")
    write(root / "obj.data", f"train = {name}\nnames = {name}\n")
    verdicts(place, touched, root)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_no_path_in_a_labelme_file_leads_elsewhere(place: Place, touched: list[tuple[str, str]], name: str) -> None:
    root = place.labelme(imagePath=name.replace("OUTSIDE", str(place.outside)))
    assert written(verdicts(place, touched, root))
    (root / "a.jpg").rename(root / "b.jpg")
    for to in TARGETS:
        for path in sorted((place.folder / to).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (place.folder / to).rmdir()
    assert refused(verdicts(place, touched, root))


@pytest.mark.parametrize("name", [*ELSEWHERE, "a\0b", "a 1", "-1", "a -1 -1"])
def test_no_line_of_a_split_file_leads_elsewhere(place: Place, touched: list[tuple[str, str]], name: str) -> None:
    root = place.voc()
    name = name.replace("OUTSIDE", str(place.outside))
    write(root / "ImageSets" / "Main" / "train.txt", f"a\n{name}\n")
    verdicts(place, touched, root)


def a_link_out(path: Path, place: Place) -> None:
    """Of the same kind as what is there: a folder's to a folder."""
    kept = place.outside / f"kept{path.suffix}"
    if kept.exists():
        return
    path.rename(kept)
    path.symlink_to(kept)


def a_relative_link_out(path: Path, place: Place) -> None:
    a_link_out(path, place)
    path.unlink()
    path.symlink_to(os.path.relpath(place.outside / f"kept{path.suffix}", path.parent))


def a_link_to_nowhere(path: Path, place: Place) -> None:
    removed(path)
    path.symlink_to("nowhere")


def a_link_to_itself(path: Path, place: Place) -> None:
    removed(path)
    path.symlink_to(path.name)


def a_link_upwards(path: Path, place: Place) -> None:
    removed(path)
    path.symlink_to("..", target_is_directory=True)


def a_pipe(path: Path, place: Place) -> None:
    removed(path)
    os.mkfifo(path)


def a_socket(path: Path, place: Place) -> None:
    removed(path)
    here = Path.cwd()
    os.chdir(path.parent)  # paths of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def a_device(path: Path, place: Place) -> None:
    removed(path)
    try:
        os.mknod(path, 0o666 | 0o020000, os.makedev(1, 5))  # /dev/zero, which never ends
    except OSError:
        pytest.skip("devices are made by root alone")


def a_folder(path: Path, place: Place) -> None:
    removed(path)
    path.mkdir()


def nothing_readable(path: Path, place: Place) -> None:
    removed(path)
    path.write_bytes(bytes(range(256)) * 40)


def removed(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for inner in path.iterdir():
            removed(inner)
        path.rmdir()
    else:
        path.unlink()


ODD = (a_link_out, a_relative_link_out, a_link_to_nowhere, a_link_to_itself, a_link_upwards, a_pipe, a_socket, a_device,
       a_folder, nothing_readable)  # fmt: skip


def voc_with_all(place: Place) -> Path:
    root = place.voc()
    write(root / "Annotations" / "b.xml", f"<annotation>{SIZE}{OBJECT}</annotation>")
    picture(root / "JPEGImages" / "b.jpg")
    write(root / "ImageSets" / "Main" / "train.txt", "a\n")
    write(root / "labels.txt", "dog\n")
    write(root / "dataset.json", "{}")
    (root / "SegmentationObject").mkdir()
    Image.new("L", (100, 80)).save(root / "SegmentationObject" / "a.png")
    return root


def yolo_with_all(place: Place) -> Path:
    root = place.yolo("train: train.txt\nnames: [dog]\n")
    write(root / "train.txt", "images/a.jpg\n")
    write(root / "classes.txt", "dog\n")
    write(root / "obj.data", "names = classes.txt\n")
    write(root / "labels" / "b.txt", "")
    picture(root / "images" / "b.jpg")
    return root


def labelme_with_two(place: Place) -> Path:
    root = place.labelme()
    write(root / "b.json", (root / "a.json").read_text().replace("a.jpg", "b.jpg"))
    picture(root / "b.jpg")
    return root


FILES: list[tuple[Callable[[Place], Path], str]] = [
    *((voc_with_all, name) for name in ("Annotations/a.xml", "JPEGImages/a.jpg", "Annotations", "JPEGImages",
                                        "ImageSets/Main/train.txt", "ImageSets/Main", "ImageSets", "labels.txt",
                                        "dataset.json", "SegmentationObject/a.png", "SegmentationObject")),
    *((Place.coco, name) for name in ("annotations/instances.json", "images/a.jpg", "annotations", "images")),
    *((yolo_with_all, name) for name in ("labels/a.txt", "images/a.jpg", "labels", "images", "data.yaml", "train.txt",
                                         "classes.txt", "obj.data")),
    *((labelme_with_two, name) for name in ("a.json", "a.jpg")),
]  # fmt: skip


def some_pairs(first: Sequence[Any], second: Sequence[Any]) -> list[tuple[Any, Any]]:
    """A third of all pairs, in which each of both sequences occurs with many of the other."""
    return [(a, b) for (i, a), (j, b) in product(enumerate(first), enumerate(second)) if (i + j) % 3 == 0]


@pytest.mark.parametrize(
    ("odd", "file"),
    some_pairs(ODD, FILES),
    ids=lambda one: one[1] if isinstance(one, tuple) else one.__name__,
)
def test_a_link_is_followed_to_files_and_folders_alone(
    place: Place,
    touched: list[tuple[str, str]],
    odd: Callable[..., None],
    file: tuple[Callable[[Place], Path], str],
) -> None:
    make, name = file
    root = make(place)
    odd(root / name, place)
    found = verdicts(place, touched, root)
    if odd in (a_link_out, a_relative_link_out) and name not in ("labels.txt", "dataset.json", "obj.data"):
        assert "path.linked" in found["check"] or "ImageSets" in name or name == "classes.txt", found
        assert written(found), found


def test_a_folder_may_be_a_link_itself(place: Place, touched: list[tuple[str, str]]) -> None:
    root = place.voc()
    (place.root / "inner").mkdir()
    for name in ("Annotations", "JPEGImages"):
        (root / name).rename(place.root / "inner" / name)
    (place.root / "link").symlink_to("inner")
    assert written(verdicts(place, touched, place.root / "link"))


@pytest.mark.parametrize("file", ["annotations/instances.json", "data.yaml"])
def test_a_file_that_is_named_and_a_pipe_is_refused(place: Place, touched: list[tuple[str, str]], file: str) -> None:
    (place.coco if file.endswith("json") else place.yolo)()
    a_pipe(place.root / file, place)
    assert refused(verdicts(place, touched, place.root / file))


STEMS = ["-rf", "a\nb", "a\tb", "a\x1b[31mb", "a b", " a", "a ", ".a", "a.", "a..b", "CON", "a:b", "a*?", "a\\b", "a|b",
         "'a'", '"a"', "$(touch x)", "`x`", "%00", "a%2e%2e", "&amp;", "<a>", "]]>", "犬", "e\u0301", "\u202eb", "😀",
         "a" * 240, "0", "1 1", "-1", "None", "null", "{}", "a,b", "#a", "train", "a;b", "nul\u0085x"]  # fmt: skip


@pytest.mark.parametrize(("stem", "format"), some_pairs(STEMS, ["voc", "coco", "yolo", "labelme"]))
def test_odd_file_names_are_written_again_or_refused(
    place: Place, touched: list[tuple[str, str]], stem: str, format: str
) -> None:
    getattr(place, format)()
    root = place.root
    for path in [path for path in root.rglob("a.*") if path.is_file()]:
        path.rename(path.with_name(stem + path.suffix))
    if format == "voc":
        write(root / "ImageSets" / "Main" / "train.txt", f"{stem}\n")
    elif format == "coco":
        write(root / "annotations" / "instances.json", coco_text(images=coco_image(file_name=f"{stem}.jpg")))
    elif format == "labelme":
        text = (root / f"{stem}.json").read_text().replace('"a.jpg"', json.dumps(f"{stem}.jpg"))
        (root / f"{stem}.json").write_text(text)
    verdicts(place, touched, root)


def test_names_that_are_no_utf_8_are_errors(place: Place, touched: list[tuple[str, str]]) -> None:
    root = place.voc()
    for folder, suffix in (("Annotations", b".xml"), ("JPEGImages", b".jpg")):
        made = next((root / folder).iterdir())
        made.rename(made.with_name(os.fsdecode(b"\xff\xfe" + suffix)))
    found = verdicts(place, touched, root)
    assert refused(found)
    assert "path.name" in found["check"]


def png(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(
        b"IDAT", zlib.compress(b"\0" * 1000)
    ) + chunk(b"IEND", b"")  # fmt: skip


def jpeg(width: int, height: int) -> bytes:
    return (
        b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
        + b"\xff\xc0\0\x11\x08"
        + struct.pack(">HH", height, width)
        + b"\3\1\x11\0\2\x11\0\3\x11\0"
        + b"\xff\xda\0\x0c\3\1\0\2\x11\3\x11\0\x3f\0"
    )


IMAGES = {
    "empty": b"",
    "html": b"<html><body>404</body></html>",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 80\n%%EndComments\n(/etc/passwd) (r) file\n",
    "png bomb": png(65_000, 65_000),
    "png of 2^31": png(2**31 - 1, 2**31 - 1),
    "png of 0": png(0, 0),
    "jpeg bomb": jpeg(65_500, 65_500),
    "jpeg of 0": jpeg(0, 0),
    "jpeg cut": jpeg(100, 80)[:12],
    "jpeg of segments": b"\xff\xd8" + b"\xff\xe0\0\2" * 20_000,
    "jpeg to itself": b"\xff\xd8\xff\xe0\0\0" * 100,
    "bmp bomb": b"BM" + struct.pack("<IIIIiiHH", 54, 0, 54, 40, 2**31 - 1, -(2**31) + 1, 1, 24) + b"\0" * 24,
    "tiff to itself": b"II*\0\x08\0\0\0\1\0\x00\x01\4\0\1\0\0\0\x64\0\0\0\x08\0\0\0",
    "tiff of many": b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 1000,
    "webp cut": b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff",
    "gif": b"GIF89a\xff\xff\xff\xff\0\0\0;",
    "zip": b"PK\3\4" + b"\0" * 100,
    "python": b"#!/usr/bin/env python\nimport os; os.abort()\n",
}  # fmt: skip


@pytest.mark.parametrize(("kind", "format"), some_pairs(list(IMAGES), ["voc", "coco", "yolo", "labelme"]))
def test_what_only_says_to_be_an_image_is_refused(
    place: Place, touched: list[tuple[str, str]], format: str, kind: str
) -> None:
    getattr(place, format)()
    image = next(place.root.rglob("a.jpg"))
    image.write_bytes(IMAGES[kind])
    found = verdicts(place, touched)
    assert "image.corrupt" in found["check"]
    assert refused(found)


HUGE = [2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**70, -(2**63), -(2**70), 10**4400, 1e19, 1e300]


@pytest.mark.parametrize(
    ("where", "number"),
    some_pairs(["image", "category", "annotation", "all"], HUGE),
    ids=lambda one: one if isinstance(one, str) else f"{float(min(one, 10**300)):.4g}",
)
def test_huge_ids_are_distinguished(place: Place, touched: list[tuple[str, str]], where: str, number: float) -> None:
    of_image, of_category, of_annotation = ((number if where in (name, "all") else 1) for name in (
        "image", "category", "annotation"))  # fmt: skip
    text = coco_text(
        images=coco_image(id=IMAGE),
        annotations=coco_annotation(id=ANNOTATION, image_id=IMAGE, category_id=CATEGORY),
        categories=[{"id": CATEGORY, "name": "dog"}],
    )
    for mark, value in ((IMAGE, of_image), (CATEGORY, of_category), (ANNOTATION, of_annotation)):
        text = text.replace(str(mark), str_of(value))
    found = verdicts(place, touched, place.coco(text))
    assert written(found) or refused(found)


IMAGE, CATEGORY, ANNOTATION = 1111, 2222, 3333


def str_of(number: float) -> str:
    """A number as JSON, also of more digits than Python wants to write."""
    return "1" + "0" * 4400 if number == 10**4400 else repr(number)


KEYS = ("width", "height", "area", "iscrowd", "difficult", "score", "license", "bbox", "box", "segmentation", "pose")


@pytest.mark.parametrize(
    ("key", "number"),
    some_pairs(KEYS, [*HUGE, 0, -1, 0.5, 1e-320]),
    ids=lambda one: one if isinstance(one, str) else f"{float(min(one, 10**300)):.4g}",
)
def test_numbers_that_are_out_of_all_bounds_get_a_verdict(
    place: Place, touched: list[tuple[str, str]], key: str, number: float
) -> None:
    value: Any = 1111
    if key in ("bbox", "box"):
        value = [11, 21, 1111, 39]
    elif key == "segmentation":
        value = [[11, 21, 1111, 21, 11, 39]]
    of_image = key in ("width", "height", "license")
    text = coco_text(
        images=coco_image(**({key: value} if of_image else {})),
        annotations=coco_annotation(**({} if of_image else {key: value})),
    ).replace("1111", str_of(number))
    verdicts(place, touched, place.coco(text))


TYPED, KEPT = ["id", "width", "image_id", "bbox", "area", "segmentation", "counts"], ["info", "score"]
TAKEN = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"]  # by Python
NONE = ["0x10", "01", "1_000", "+1", ".5", "٣", "１", "nan", "True", "None", "'x'", "undefined", ""]


@pytest.mark.parametrize(
    ("key", "literal"), [*some_pairs([*TYPED, *KEPT], TAKEN), *some_pairs([TYPED[0], "segmentation", KEPT[0]], NONE)]
)
def test_literals_that_are_no_json_get_a_verdict(
    place: Place, touched: list[tuple[str, str]], key: str, literal: str
) -> None:
    values = {"bbox": [11, 21, 1111, 39], "segmentation": [[11, 21, 1111, 21, 11, 39]]}
    value = values.get(key, 1111)
    if key == "counts":
        key, value = "segmentation", {"size": [80, 100], "counts": [1111, 8000]}
    more = {"info": value} if key == "info" else {}
    text = coco_text(
        images=coco_image(**({key: value} if key in ("id", "width") else {})),
        annotations=coco_annotation(**({key: value} if key not in ("id", "width", "info") else {})),
        **more,
    ).replace("1111", literal)
    verdicts(place, touched, place.coco(text))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        coco_text(info=0).replace("0}", "[" * 100_000 + "]" * 100_000 + "}").encode(),
        coco_text(info=1111).replace("1111", "[" * 900 + "]" * 900).encode(),
        coco_text(annotations=coco_annotation(segmentation=1111)).replace("1111", "[" * 900 + "]" * 900).encode(),
        coco_text(annotations=coco_annotation(zz=1111)).replace("1111", '{"a":' * 400 + "1" + "}" * 400).encode(),
        coco_text().encode("utf-16"),
        coco_text().encode("utf-16-be"),
        coco_text().encode("utf-32"),
        coco_text().encode("utf-8-sig"),
        coco_text().encode() + b"\0",
        coco_text().encode() + b"}",
        coco_text().encode()[:-1],
        coco_text().replace("dog", "狗").encode("gbk"),
        coco_text().encode().replace(b"dog", b"\xff\xfe"),
        coco_text(info="dog").encode().replace(b"dog", b"\xff\xfe"),
        coco_text(images=coco_image(license="1111")).encode().replace(b"1111", b"\xff\xfe"),
        coco_text(images=coco_image(zz="1111")).encode().replace(b"1111", b"\xff\xfe"),
        coco_text(annotations=coco_annotation(zz="1111")).encode().replace(b"1111", b"\xed\xa0\x80"),
        coco_text(annotations=coco_annotation(segmentation="1111")).encode().replace(b"1111", b"\xff"),
        coco_text().replace("dog", "\\ud800").encode(),
        coco_text().replace("a.jpg", "\\udcff.jpg").encode(),
        coco_text(info="\ud800").encode(),
        coco_text(**{"\ud800": 1}).encode(),
        coco_text(images=coco_image(license="\ud800")).encode(),
        coco_text(annotations=coco_annotation(pose="\ud800")).encode(),
        coco_text(annotations=coco_annotation(**{"\ud800": 1})).encode(),
        coco_text(annotations=coco_annotation(segmentation={"size": [80, 100], "counts": "\ud800"})).encode(),
        coco_text(categories=[{"id": 1, "name": "dog", "\ud800": 1}]).encode(),
        coco_text(categories=[{"id": 1, "name": "a\0b"}]).encode(),
        coco_text(categories=[{"id": 1, "name": "a\x01\ufffe\uffffb"}]).encode(),
        coco_text(categories=[{"id": 1, "name": "\x1b[31m"}]).encode(),
        coco_text(categories=[{"id": 1, "name": "../../x"}]).encode(),
        coco_text(categories=[{"id": 1, "name": "x" * 100_000}]).encode(),
        coco_text(categories=[{"id": 1, "name": "a\nb: [c]\n"}]).encode(),
        coco_text(categories=[{"id": 1, "name": ""}, {"id": 2, "name": " "}]).encode(),
        coco_text(categories=[]).encode(),
        coco_text(images=[None, 1, "x", [], {}]).encode(),
        coco_text(annotations=[None, 1, "x", [], {}]).encode(),
        coco_text(images={"1": {}}).encode(),
        coco_text(images=coco_image(width="100", height=None)).encode(),
        coco_text(images=coco_image() * 2).encode(),
    ],
    ids=lambda text: f"{text[:30]!r}-{len(text)}",
)
def test_odd_coco_files_get_a_verdict(place: Place, touched: list[tuple[str, str]], text: bytes) -> None:
    verdicts(place, touched, place.coco(text))


REPEATED = [
    ('"bbox": [11, 21, 39, 39]', '"bbox"COLON [0, 0, 1, 1]'),
    ('"name": "dog"', '"name"COLON "cat"'),
    ('"name": "dog"', '"n\\u0061me"COLON "cat"'),
    ('"file_name": "a.jpg"', '"file_name"COLON "b.jpg"'),
    ('"category_id": 1', '"category_id"COLON 2'),
    ('"annotations"', '"annotations"COLON [], "annotations"'),
    ('"id": 1', '"iscrowd": 0, "iscrowd"COLON 1, "id": 1'),
    ('"id": 1', '"zz": 0, "zz"COLON 1, "id": 1'),
    ('"id": 1', '"attributes": {"a": 1, "a"COLON 2}, "id": 1'),
]


@pytest.mark.parametrize(("repeated", "colon"), some_pairs(REPEATED, [":", " :", "\t:", "\n :", " : "]))
def test_a_repeated_key_is_an_error_in_any_spelling(
    place: Place, touched: list[tuple[str, str]], repeated: tuple[str, str], colon: str
) -> None:
    first, second = repeated
    other = second.replace("COLON", colon)
    text = coco_text().replace(first, other if "COLON" in second and first.startswith(('"id', '"ann')) else
                               f"{other}, {first}")  # fmt: skip
    found = verdicts(place, touched, place.coco(text))
    assert "json.duplicate_key" in found["check"]
    assert refused(found)


EVIL = "<object><name>evil</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object>"
TAGS = [
    EVIL,
    EVIL.replace("object", "Object"),
    EVIL.replace("<object>", '<object xmlns="u">'),
    EVIL.replace("<", "<x:").replace("<x:/", "</x:").replace("<x:object>", '<x:object xmlns:x="u">'),
    f"<objects>{EVIL}</objects>",
    f"</object>{EVIL}<object>",
    f"<a/>{EVIL}",
    f"<a>{EVIL}</a>",
    f"<a></a></object>{EVIL}<object><name>x</name>",
    f"</annotation><annotation>{EVIL}",
    "<name>evil</name>",
    '<name xmlns="u">evil</name>',
    "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>",
    "<difficult>1</difficult>",
    '<truncated xmlns="u">1</truncated>',
    '<crowd xmlns="u">1</crowd>',
    "<filename>../../evil.jpg</filename>",
    "<size><width>1</width><height>1</height></size>",
    '<size xmlns="u"><width>1</width><height>1</height></size>',
    '<coordinates xmlns="u">one</coordinates>',
    '<coco xmlns="u">{"score": 1}</coco>',
    '<segmentation xmlns="u">[[1,1,5,1,5,5]]</segmentation>',
    "<polygon><x1>1</x1><y1>1</y1><x2>5</x2><y2>1</y2><x3>5</x3><y3>5</y3></polygon>",
    "<area>3</area>",
    "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
    "<a>&x;</a>",
    "<a>&#0;</a>",
    "<a>&#x1;</a>",
    "<!-- nothing -->",
    "<?php evil() ?>",
    "<![CDATA[<object>]]>",
    "<a><![CDATA[</object>]]></a>",
    "text",
    "",
    " ",
    "<a",
    "<a/> <b/>",
    "\0",
    "\ud800",
    "<a>\x01</a>",
    "<?xml version='1.0'?><a/>",
    "<a b='1' b='2'/>",
    "<x:a/>",
    "<a>" * 300 + "</a>" * 300,
]


@pytest.mark.parametrize("tag", TAGS)
def test_no_tag_in_a_coco_file_becomes_an_object(place: Place, touched: list[tuple[str, str]], tag: str) -> None:
    extra = {"voc": {"tags": [tag]}}
    text = coco_text(annotations=coco_annotation(**extra), images=coco_image(**extra))
    found = verdicts(place, touched, place.coco(text))
    assert written(found) or (tag == "\ud800" and refused(found))
    if refused(found):
        return
    root = etree.fromstring((place.folder / "voc" / "Annotations" / "a.xml").read_bytes())
    assert [etree.QName(one).localname.lower() for one in root.iter(tag=etree.Element)].count("object") == 1
    assert root.findtext("object/name") == "dog"
    assert root.findtext("filename") == "a.jpg"


@pytest.mark.parametrize("evil", [f"x>{EVIL}<x", "a b", "", "1", "a='1' b", "xmlns", "xml:lang", "x:y", "<", "\ud800", "é",
                                  "object", "name"])  # fmt: skip
@pytest.mark.parametrize("key", ["attributes", "source"])
def test_no_name_in_a_header_becomes_an_object(
    place: Place, touched: list[tuple[str, str]], key: str, evil: str
) -> None:
    found = verdicts(place, touched, place.coco(images=coco_image(voc={key: {evil: "1"}})))
    assert written(found) or (evil == "\ud800" and refused(found))
    if refused(found):
        return
    root = etree.fromstring((place.folder / "voc" / "Annotations" / "a.xml").read_bytes())
    assert len(list(root.iter("object"))) == 1


@pytest.mark.parametrize("evil", [EVIL, f"</folder>{EVIL}", "]]>", "&x;", "\0", "\x01", "\ud800", "\r\n", "../../x",
                                  "<!--", 7, None, [], {}, True])  # fmt: skip
def test_no_text_of_a_header_becomes_an_object(place: Place, touched: list[tuple[str, str]], evil: object) -> None:
    texts = dict.fromkeys(("folder", "path", "depth", "segmented", "void", "masks", "tags", "coco", "source",
                           "attributes"), evil)  # fmt: skip
    each: list[object] = [{"folder": evil, "path": evil, "depth": evil, "segmented": evil},
                          {"source": {"database": evil}}, {"attributes": {"verified": evil}}]  # fmt: skip
    if isinstance(evil, str):  # no header is refused for such a text, and one can have all of them
        each = [{key: value for one in each for key, value in one.items()}]  # type: ignore[attr-defined]
    for voc in (*each, texts, {"void": evil, "masks": True}, evil):
        found = verdicts(place, touched, place.coco(images=coco_image(voc=voc)))
        assert written(found) or (evil == "\ud800" and refused(found))
        if refused(found):
            return
        root = etree.fromstring((place.folder / "voc" / "Annotations" / "a.xml").read_bytes())
        assert len(list(root.iter("object"))) == 1
        for to in TARGETS:
            removed(place.folder / to)


OVERRIDES = {"id": 9, "file_name": "../../evil.jpg", "width": 1, "height": 1, "image_id": 9, "category_id": 9,
             "bbox": [0, 0, 1, 1], "box": [0, 0, 1, 1], "iscrowd": 1, "area": 1, "segmentation": [[0, 0, 1, 0, 1, 1]],
             "pose": "evil", "difficult": 1, "truncated": 1, "occluded": 1, "voc": {"tags": [EVIL]},
             "parts": [{"name": "evil", "bbox": [0, 0, 1, 1]}]}  # fmt: skip


def test_no_coco_element_overrides_what_an_xml_says(place: Place, touched: list[tuple[str, str]]) -> None:
    element = f"<coco>{json.dumps(OVERRIDES)}</coco>"
    odd = OBJECT.replace("</name>", f"</name>{element}")
    found = verdicts(place, touched, place.voc(f"<annotation>{FILENAME}{SIZE}{element}{odd}</annotation>"))
    assert written(found)
    whole = json.loads((place.folder / "coco" / "annotations" / "instances.json").read_text())
    assert whole["images"][0] | {"voc": 0} == {"id": 1, "file_name": "a.jpg", "width": 100, "height": 80, "voc": 0}
    assert whole["annotations"] == [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [11, 21, 39, 39], "area": 1521, "iscrowd": 0}
    ]


@pytest.mark.parametrize(
    "text", ["[]", "{", "null", '{"a":NaN}', '{"a":1,"a":2}', "[" * 100_000, '{"\\ud800":1}', '{"zz":"\\ud800"}', "{}" * 9,
             '{"zz":1e999}', '{"zz":' + "[" * 500 + "]" * 500 + "}", '{"":0}', '{"zz":"</coco>"}'.replace("<", "&lt;")]
)  # fmt: skip
def test_odd_json_in_an_xml_gets_a_verdict(place: Place, touched: list[tuple[str, str]], text: str) -> None:
    element = f"<coco>{text}</coco><segmentation>{text}</segmentation>"
    odd = OBJECT.replace("</name>", f"</name>{element}")
    root = place.voc(f"<annotation>{FILENAME}{SIZE}<coco>{text}</coco>{odd}</annotation>")
    write(root / "dataset.json", text)
    verdicts(place, touched, root)


LABELS = ["../../x", "/etc/passwd", "..", ".", "a/b", "a\\b", "C:\\x", "CON", "-rf", "a\tb", "x" * 300, "é", "犬", "~", "$HOME",
          "a:b", "*", "?", "|", '"', "'", "`x`", "%00", "#a", "- a", "a: b", "{a}", "[a]", "&a", "*a", "!!python/name:os",
          "null", "true", "1", "1e3", "@", "a\u2028b", "a\x85b", "\ufeff", "<a>", "</name>", "]]>", "&lt;", "\U0010ffff"]  # fmt: skip


@pytest.mark.parametrize("label", LABELS)
def test_labels_that_look_like_something_else_are_only_labels(
    place: Place, touched: list[tuple[str, str]], label: str
) -> None:
    assert written(verdicts(place, touched, place.coco(categories=[{"id": 1, "name": label}])))


def test_labels_that_are_paths_name_no_files_elsewhere(place: Place) -> None:
    from vocdet.workflows.crops import write_crops

    labels = [label for label in LABELS if label.strip()]
    categories = [{"id": i, "name": label} for i, label in enumerate(labels)]
    annotations = [coco_annotation()[0] | {"id": i, "category_id": i} for i in range(len(labels))]
    root = place.coco(categories=categories, annotations=annotations)
    before = snapshot(place.folder)
    write_crops(Source(root), place.folder / "coco")
    assert snapshot(place.folder) == before
    pictures = [path for path in (place.folder / "coco").rglob("*") if path.is_file() and path.name != MARKER]
    assert len(pictures) == len(labels)
    assert {len(path.relative_to(place.folder / "coco").parts) for path in pictures} == {3}  # part, label, picture


@pytest.mark.parametrize("label", ["../../x", "/etc/passwd", "a/b", "a\\b", "x" * 300])
def test_labels_that_are_paths_name_no_split_files(place: Place, label: str) -> None:
    from vocdet.workflows.split import SplitFiles, split_dataset

    root = place.voc(f"<annotation>{SIZE}{OBJECT.replace('dog', label)}</annotation>")
    for i in range(9):
        text = (root / "Annotations" / "a.xml").read_bytes()
        write(root / "Annotations" / f"{i}.xml", text.replace(b"<width>100<", b"<width>%d<" % (100 + i)))
        picture(root / "JPEGImages" / f"{i}.jpg", (100 + i, 80))
    before = snapshot(place.folder)
    with pytest.raises(VocdetError, match="cannot be in a file name"):
        split_dataset(Source(root), files=SplitFiles(per_label=True))
    assert snapshot(place.folder) == before
    assert not (root / "ImageSets").exists()
