"""CPU seconds and peak memory of reading and converting datasets: vocdet's budgets, pycocotools and peers beside them.

    python examples/bench_datasets.py [--corpus DIR] [--rounds 3] [--million]
                                      [--peers [globox labelformat ...]] [--peer-python PATH]

The corpus is that of make_corpus.py, made in DIR if it does not exist, or in a temporary folder. Every piece runs in a
separate process on one core; pieces alternate, so that a noisy machine affects all of them. The figures are user and
system time of the work without imports (of the two commands with them), and the peak memory of the process with
imports. Results are written to memory (/dev/shm) if possible: creating 20,000 files on a disk takes half a second to
five seconds, depending on its journal.
Peers (globox, labelformat, datumaro, pylabel) run if --peer-python has them, preferably in a separate environment.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from vocdet.formats.scan import Source

# Only the standard library up here: peers' interpreters run this file too, and the peak memory of a process includes
# that of the parent it was forked from.

PEERS = ("globox", "labelformat", "datumaro", "pylabel")
_REFERENCE = 2.1  # CPU seconds of pycocotools where the budgets were set
_MILLION = (1_000_000, 10_000_000, 80)  # images, objects, labels

Work = Callable[[], Any]  # what is timed
Count = Callable[[Any], tuple[int, int]]  # from its result: images and objects
Prepare = Callable[[Path, Path], tuple[Work, Count]]  # from the corpus and an empty folder to write to


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing to measure. `prepare`, which imports what is needed, is not timed."""

    title: str
    prepare: Prepare
    seconds: float | None = None  # the budget
    megabytes: float | None = None
    clock: str = "cpu"  # what the budget is for: cpu or wall
    against: str = ""  # vocdet's piece that a peer is compared with


@dataclass(frozen=True, slots=True)
class Measure:
    """What one run of a piece took."""

    cpu: float  # user and system seconds
    wall: float
    peak: float  # MB, 10^6 bytes
    images: int
    objects: int


def _read(format: str) -> Prepare:
    def prepare(corpus: Path, _: Path) -> tuple[Work, Count]:
        from vocdet.formats.registry import read

        return lambda: read(Source(corpus / format)), _count_scan

    return prepare


def _read_cached(format: str) -> Prepare:
    def prepare(corpus: Path, _: Path) -> tuple[Work, Count]:
        from vocdet.formats import cache

        return lambda: cache.read(Source(corpus / format)), _count_scan

    return prepare


def _count_scan(scan: Any) -> tuple[int, int]:
    return len(scan.dataset), len(scan.dataset.objects)


def _convert(format: str, to: Literal["voc", "coco"]) -> Prepare:
    def prepare(corpus: Path, scratch: Path) -> tuple[Work, Count]:
        from vocdet.workflows.convert import WriteOptions, convert

        return lambda: convert(
            Source(corpus / format), scratch / "made", to=to, options=WriteOptions(images="none")
        ), _counter(scratch)

    return prepare


def _whole(counted: str, *words: str) -> Prepare:
    """A command from the start of Python to its end, without the cache; `counted` is the folder with its result."""

    def prepare(corpus: Path, scratch: Path) -> tuple[Work, Count]:
        filled = [word.format(corpus=corpus, scratch=scratch) for word in (counted, *words)]
        command, environment = [sys.executable, "-m", "vocdet_cli", *filled[1:]], os.environ | {"VOCDET_CACHE": "off"}
        return lambda: subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL), _counter(
            Path(filled[0])
        )

    return prepare


def _counter(scratch: Path) -> Count:
    """Count the images and objects of the files that a conversion wrote."""

    def count(_: Any) -> tuple[int, int]:
        xml = [path for path in scratch.rglob("*.xml") if not path.is_symlink()]
        if xml:
            return len(xml), sum(path.read_bytes().count(b"<object>") for path in xml)
        file = next(path for path in scratch.rglob("*.json") if not path.is_symlink())
        content = json.loads(file.read_bytes())
        return len(content["images"]), len(content["annotations"])

    return count


def _pycocotools(corpus: Path, _: Path) -> tuple[Work, Count]:
    load = importlib.import_module("pycocotools.coco").COCO
    file = corpus / "coco/annotations/instances.json"
    return lambda: load(file), lambda coco: (len(coco.imgs), len(coco.anns))


def _peer(name: str, to: str) -> Prepare:
    prepare = {"globox": _globox, "labelformat": _labelformat, "datumaro": _datumaro, "pylabel": _pylabel}[name]
    return lambda corpus, scratch: (prepare(corpus, scratch, to), _counter(scratch))


def _globox(corpus: Path, scratch: Path, to: str) -> Work:
    sets = importlib.import_module("globox").AnnotationSet
    if to == "coco":
        voc = corpus / "voc/Annotations"
        return lambda: sets.from_pascal_voc(voc).save_coco(scratch / "made.json", auto_ids=True)
    return lambda: sets.from_coco(corpus / "coco/annotations/instances.json").save_pascal_voc(scratch)


def _labelformat(corpus: Path, scratch: Path, to: str) -> Work:
    formats = importlib.import_module("labelformat.formats")
    labels = ",".join(_labels(corpus))
    if to == "coco":
        voc = corpus / "voc/Annotations"
        return lambda: formats.COCOObjectDetectionOutput(output_file=scratch / "made.json").save(
            formats.PascalVOCObjectDetectionInput(input_folder=voc, category_names=labels)
        )
    return lambda: formats.PascalVOCObjectDetectionOutput(output_folder=scratch).save(
        formats.COCOObjectDetectionInput(input_file=corpus / "coco/annotations/instances.json")
    )


def _pylabel(corpus: Path, scratch: Path, to: str) -> Work:
    importer = importlib.import_module("pylabel.importer")
    if to == "coco":
        voc = str(corpus / "voc/Annotations")
        return lambda: importer.ImportVOC(voc, path_to_images="../JPEGImages/").export.ExportToCoco(
            str(scratch / "made.json")
        )
    coco = str(corpus / "coco/annotations/instances.json")
    return lambda: importer.ImportCoco(coco, path_to_images="../images/").export.ExportToVoc(str(scratch))


def _datumaro(corpus: Path, scratch: Path, to: str) -> Work:
    """Datumaro requires a label map and a list of the images, or subsets in the names, which a corpus does not have."""
    datasets = importlib.import_module("datumaro").Dataset
    source = scratch / "source"
    links = {"annotations/instances_default.json": "coco/annotations/instances.json", "images/default": "coco/images"}
    if to == "coco":
        links = {name: f"voc/{name}" for name in ("Annotations", "JPEGImages")}
        stems = sorted(path.stem for path in (corpus / "voc/Annotations").iterdir())
        lists = source / "ImageSets" / "Main"
        lists.mkdir(parents=True)
        (lists / "default.txt").write_text("".join(f"{stem}\n" for stem in stems))
        parts = {"person": "head,hand,foot"}
        lines = (f"{label}::{parts.get(label, '')}:\n" for label in _labels(corpus))
        (source / "labelmap.txt").write_text("".join(lines))
    for name, target in links.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).symlink_to((corpus / target).resolve())
    forms = ("voc_detection", "coco_instances") if to == "coco" else ("coco_instances", "voc_detection")
    return lambda: datasets.import_from(str(source), forms[0]).export(str(scratch / "made"), forms[1])


def _labels(corpus: Path) -> list[str]:
    return (corpus / "labels.txt").read_text().splitlines()


def _save_million(folder: Path, _: Path) -> tuple[Work, Count]:
    from vocdet.formats import scan_file

    scan = make_million()
    return lambda: scan_file.save(folder / "million", scan), lambda _: _count_scan(scan)


def _load_million(folder: Path, _: Path) -> tuple[Work, Count]:
    from vocdet.formats import scan_file

    return lambda: scan_file.load(folder / "million"), _count_scan


def _split_million(folder: Path, _: Path) -> tuple[Work, Count]:
    from vocdet.data.division.divide import split
    from vocdet.formats import scan_file

    dataset = scan_file.load(folder / "million").dataset

    def count(result: Any) -> tuple[int, int]:
        return len(result.train) + len(result.val) + len(result.test), len(dataset.objects)

    return lambda: split(dataset), count


def make_million() -> Any:
    """A scan of a million images of 640×480 with ten million objects of 80 labels with counts like 1/rank."""
    import numpy as np

    from vocdet.data.dataset import Dataset, Images, Objects
    from vocdet.formats.scan import Scan

    images, objects, labels = _MILLION
    rng = np.random.default_rng(0)
    ranks = np.cumsum(1 / np.arange(1, labels + 1))
    low = rng.integers(0, (600_00, 440_00), (objects, 2), np.int32)  # hundredths of a pixel, as COCO has them
    none = np.zeros(objects, np.bool_)
    columns: dict[str, Any] = {
        "image": np.sort(rng.integers(0, images, objects, np.int32)),
        "label": np.searchsorted(ranks[:-1] / ranks[-1], rng.random(objects, np.float32)).astype(np.int32),
        "box": np.concatenate([low, low + rng.integers(8_00, 40_00, (objects, 2), np.int32)], axis=1) / 100,
        "difficult": rng.random(objects, np.float32) < 0.05,
        "truncated": rng.random(objects, np.float32) < 0.2,
        "occluded": none,
        "crowd": none,
        "line": np.arange(1, objects + 1, dtype=np.int32),
    }
    for column in columns.values():
        column.setflags(write=False)  # so that the table does not copy it
    stems = tuple(f"frame_{i:07d}" for i in range(images))
    table = Images(
        stems=stems,
        files=tuple(f"JPEGImages/{stem}.jpg" for stem in stems),
        widths=np.full(images, 640, np.int32),
        heights=np.full(images, 480, np.int32),
        sources=tuple(f"Annotations/{stem}.xml" for stem in stems),
    )
    names = tuple(f"label {i:02d}" for i in range(labels))
    return Scan(Dataset(Path("million"), names, table, Objects(**columns)), findings=())


PIECES = {
    "voc-coco": Piece("VOC → COCO", _convert("voc", "coco"), 3, 150),
    "whole-voc-coco": Piece(
        "vocdet convert, VOC → COCO",
        _whole("{scratch}", "convert", "{corpus}/voc", "{scratch}/made", "--to", "coco", "--images", "none"),
        3,
        100,
    ),
    "whole-check": Piece("vocdet check, COCO", _whole("{corpus}/coco", "check", "{corpus}/coco", "--no-images")),
    "coco-voc": Piece("COCO → VOC", _convert("coco", "voc"), 3),
    "load-coco": Piece("load COCO", _read("coco"), 0.5),
    "load-voc": Piece("load VOC", _read("voc"), 2.5),
    "cached-coco": Piece("load COCO from the cache", _read_cached("coco"), 0.15),
    "cached-voc": Piece("load VOC from the cache", _read_cached("voc"), 0.15),
    "pycocotools": Piece("pycocotools: load COCO", _pycocotools, against="load-coco"),
    **{
        f"{name}-{way}": Piece(f"{name}: {title}", _peer(name, way.split("-")[1]), against=way)
        for name in PEERS
        for way, title in (("voc-coco", "VOC → COCO"), ("coco-voc", "COCO → VOC"))
    },
}
MILLION = {
    "million-save": Piece("save a million images", _save_million, None, 2000, "wall"),
    "million-load": Piece("load a million images", _load_million, None, 2000, "wall"),
    "million-split": Piece("split a million images", _split_million, 60, None, "wall"),
}


def measure(piece: Piece, corpus: Path, scratch: Path) -> Measure:
    """Run a piece in this process, on one core."""
    import resource

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    def used() -> float:
        usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in usage)

    with contextlib.redirect_stdout(sys.stderr):  # pycocotools and others print
        work, count = piece.prepare(corpus, scratch)
        cpu, wall = used(), time.perf_counter()
        result = work()
        cpu, wall = used() - cpu, time.perf_counter() - wall
        peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        peak *= 1 if sys.platform == "darwin" else 1024
        images, objects = count(result)
    return Measure(cpu, wall, peak / 1e6, images, objects)


def run(name: str, corpus: Path, work: Path, python: str, cache: Path | None = None) -> Measure | None:
    """Measure a piece in a new process; None, and a line that says why, where it fails."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        scratch = Path(folder, "scratch")
        scratch.mkdir()
        command = [python, __file__, "--piece", name, "--corpus", str(corpus), "--scratch", str(scratch)]
        settings = {"VOCDET_CACHE": str(cache or Path(folder, "cache")), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        print(f"{name} failed: {reason}", file=sys.stderr)
        return None
    return Measure(**json.loads(done.stdout))


def importable(names: Sequence[str], python: str) -> list[str]:
    """The packages that this interpreter finds."""
    test = "import sys, importlib.util as u; print(*(n for n in sys.argv[1:] if u.find_spec(n)))"
    found = subprocess.run([python, "-c", test, *names], capture_output=True, text=True, check=True)
    return found.stdout.split()


def take_turns(
    pieces: dict[str, Piece], runner: Callable[[str], Measure | None], rounds: int
) -> dict[str, list[Measure]]:
    """Run all pieces once a round; failed pieces are not repeated."""
    seen: dict[str, list[Measure]] = {name: [] for name in pieces}
    for turn in range(1, rounds + 1):
        for name in list(seen):
            result = runner(name)
            if result is None:
                del seen[name]
                continue
            seen[name].append(result)
            print(f"round {turn}: {pieces[name].title:28} {result.cpu:7.2f} s CPU  {result.peak:5.0f} MB", flush=True)
    return {name: results for name, results in seen.items() if results}


def table(pieces: dict[str, Piece], seen: dict[str, list[Measure]]) -> list[str]:
    """A line for each piece: minimum and median seconds, peak memory, the budgets, and whether they are met."""
    lines = [f"{'':28} {'seconds, min':>14} {'median':>7} {'budget':>7} {'peak MB':>8} {'budget':>7}"]
    for name, results in seen.items():
        piece = pieces[name]
        seconds = [result.wall if piece.clock == "wall" else result.cpu for result in results]
        peak = max(result.peak for result in results)
        late = piece.seconds is not None and statistics.median(seconds) > piece.seconds
        large = piece.megabytes is not None and peak > piece.megabytes
        verdict = "over" if late or large else "kept" if piece.seconds or piece.megabytes else ""
        lines.append(
            f"{piece.title:28} {piece.clock:>4} {min(seconds):9.3f} {statistics.median(seconds):7.3f} "
            f"{_limit(piece.seconds)} {peak:8.0f} {_limit(piece.megabytes)}  {verdict:5} "
            f"{results[0].images} images, {results[0].objects} objects".rstrip()
        )
    return lines


def _limit(value: float | None) -> str:
    return f"{'' if value is None else f'{value:g}':>7}"


def ratios(pieces: dict[str, Piece], seen: dict[str, list[Measure]]) -> list[str]:
    """A line for each peer: its CPU seconds over vocdet's, round by round."""
    lines = []
    for name, theirs in seen.items():
        ours = seen.get(pieces[name].against)
        if ours:
            each = "  ".join(f"{a.cpu / b.cpu:.1f}" for a, b in zip(theirs, ours, strict=True))
            lines.append(f"{pieces[name].title:28} {each} times vocdet's CPU seconds")
    return lines


def main() -> None:
    """Alternate the pieces and print their costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="*", choices=PEERS, help="those named, or all")
    parser.add_argument("--peer-python", default=sys.executable, help="the interpreter that has the peers")
    parser.add_argument("--million", action="store_true", help="measure a million images instead of the corpus")
    parser.add_argument("--piece", choices=[*PIECES, *MILLION], help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.piece:
        print(json.dumps(asdict(measure((PIECES | MILLION)[options.piece], options.corpus, options.scratch))))
        return
    if shutil.which(options.peer_python) is None:
        parser.error(f"there is no interpreter {options.peer_python}")
    with tempfile.TemporaryDirectory(prefix="vocdet-bench-", dir=None if options.million else _memory()) as folder:
        if options.million:
            bench_million(Path(folder), options.rounds)
        else:
            wanted = [] if options.peers is None else options.peers or PEERS
            peers = importable(wanted, options.peer_python)
            missing = ", ".join(name for name in wanted if name not in peers)
            if missing:
                print(f"not installed for {options.peer_python}: {missing}")
            bench_corpus(
                options.corpus or Path(folder, "corpus"), Path(folder), options.rounds, peers, options.peer_python
            )


def _memory() -> str | None:
    """A folder in memory with room for the output of the pieces, if there is one."""
    folder = "/dev/shm"
    return folder if os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > 1e9 else None


def bench_corpus(corpus: Path, work: Path, rounds: int, peers: Sequence[str], peer_python: str) -> None:
    """Measure vocdet, pycocotools and these peers with the corpus, which is made if it does not exist."""
    if not corpus.exists():
        subprocess.run([sys.executable, str(Path(__file__).with_name("make_corpus.py")), str(corpus)], check=True)
        time.sleep(3)  # the cache does not trust files of the last two seconds
    python_of = {name: peer_python for name in PIECES if name.split("-")[0] in peers}
    pieces = {name: piece for name, piece in PIECES.items() if name.split("-")[0] not in PEERS or name in python_of}
    cache = work / "cache"
    for name in ("cached-coco", "cached-voc"):  # fills it
        run(name, corpus, work, sys.executable, cache)

    def runner(name: str) -> Measure | None:
        return run(name, corpus, work, python_of.get(name, sys.executable), cache if "cached" in name else None)

    seen = take_turns(pieces, runner, rounds)
    print("", *table(pieces, seen), "", *ratios(pieces, seen), sep="\n")
    if "pycocotools" in seen and seen["pycocotools"][0].objects == 120_000:
        here = statistics.median(result.cpu for result in seen["pycocotools"])
        print(f"the budgets are for a machine where pycocotools takes {_REFERENCE} s; here it takes {here:.2f} s")


def bench_million(work: Path, rounds: int) -> None:
    """Measure a million images in the cache, and splitting them."""
    seen = take_turns(MILLION, lambda name: run(name, work, work, sys.executable), rounds)
    print("", *table(MILLION, seen), sep="\n")
    if "million-save" in seen and "million-load" in seen:
        both = [a.wall + b.wall for a, b in zip(seen["million-save"], seen["million-load"], strict=True)]
        print(f"saved and loaded in {statistics.median(both):.2f} s (median; budget 3)")


if __name__ == "__main__":
    main()
