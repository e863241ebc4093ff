"""The files in the folder of a dataset: which are listed, which links are followed, what is passed over.

A link that is in the folder is followed wherever it leads: whoever put it there wants the dataset to have the files
behind it. Links in a circle, and links to anything but a file or a folder, are passed over with a finding. Nothing is
ever written through a link.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from pathlib import Path

from vocdet.data.findings import Finding
from vocdet.data.image_files import IMAGE_SUFFIXES
from vocdet.errors import Place
from vocdet.files import first_link, is_file, is_folder, is_link
from vocdet.formats.images.entries import Entries, entries_of
from vocdet.outputs import is_output_folder, written_files
from vocdet.wording import counted, listed, reason


def walk(root: Path, folders: Sequence[str] = ("",), *, deep: bool = True) -> tuple[list[str], list[Finding]]:
    """List the files below these folders of `root`: sorted unique relative paths, and findings.

    Without `deep`, subfolders are not searched. Hidden files and folders are skipped, and so is output of vocdet and
    Ultralytics, with a finding, unless one of `folders` is in it. Links are followed; those that lead out of `root` are
    counted. A folder that several links behind other links lead to is listed once. No file is opened but markers.
    """
    walked = _Walk(root, _real(root), deep)
    for folder in folders:
        walked.start(folder)
    while walked.pending:
        walked.step(*walked.pending.pop())
    findings = [*walked.findings, *_link_findings(walked), *_outputs(root, sorted(set(walked.outputs)))]
    return sorted(walked.files), list(dict.fromkeys(findings))


_NO_ENTRIES = Entries((), (), (), frozenset(), ())

Chain = tuple[str, ...]  # the real paths of the root and of every linked folder on the way to a folder


@dataclass(slots=True)
class _Walk:
    root: Path
    real: str  # path of the root, without links
    deep: bool
    files: set[str] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)  # passed over
    pending: list[tuple[str, Chain]] = field(default_factory=list)
    reached: set[str] = field(default_factory=set)  # folders behind links that are behind links
    followed: list[str] = field(default_factory=list)  # links that lead out of the root
    refused: list[str] = field(default_factory=list)

    def start(self, folder: str) -> None:
        """Search a folder that the layout of the format names."""
        names = [name for name in folder.split("/") if name not in ("", ".")]
        if folder.startswith("/") or ".." in names:
            problem, hint = "is outside the dataset", "move it into the dataset"
            self.findings.append(Finding("path.outside", "error", problem, Place(self.root / folder), hint))
            return
        ways: Chain = (self.real,)
        for way in accumulate(names, "{}/{}".format):
            path = self.root / way
            if is_link(path):
                target = _real(path)
                if not is_folder(path) or _leads_back(target, ways, _real(path.parent)):
                    self.refused.append(way)
                    return
                self.note(way, target)
                ways = (*ways, target)
        self.pending.append(("/".join(names), ways))

    def step(self, folder: str, ways: Chain) -> None:
        """List one folder, and add its subfolders to `pending`."""
        prefix = f"{folder}/" if folder else ""
        entries = _visible(self.root / folder, self.findings)
        written = written_files(self.root / folder, entries.files)
        self.outputs += [prefix + name for name in written]
        self.files |= {prefix + name for name in entries.files if name not in written}
        for name in entries.links.intersection(entries.files).difference(written):
            self.note(prefix + name, _real(self.root / folder / name))
        self.refused += [prefix + name for name in entries.links.intersection(entries.others)]
        if self.deep:
            for name in entries.folders:
                self.enter(prefix + name, f"{self.root / folder}/{name}", ways, is_link=name in entries.links)

    def enter(self, name: str, path: str, ways: Chain, *, is_link: bool) -> None:
        """Add a subfolder to `pending`, unless it is output, or a link that leads back."""
        if is_link:
            target = _real(path)
            if _leads_back(target, ways, _real(os.path.dirname(path))):  # noqa: PTH120
                self.refused.append(name)
                return
            if len(ways) > 1 and (target in self.reached or _is_inside(target, self.real)):
                return  # else a few links in each of a few folders make thousands of paths
            self.reached |= {target} if len(ways) > 1 else set()
            self.note(name, target)
            ways = (*ways, target)
        if is_output_folder(Path(path)):
            self.outputs.append(name)
        else:
            self.pending.append((name, ways))

    def note(self, link: str, target: str) -> None:
        """Count a link that is followed, if it leads out of the dataset."""
        if not _is_inside(target, self.real):
            self.followed.append(link)


def _leads_back(target: str, ways: Chain, parent: str) -> bool:
    """Whether a link in the folder `parent` leads to it, or to a folder on the way to it."""
    return any(_is_inside(way, target) for way in (*ways, parent))


def listing(root: Path, folder: str = "") -> tuple[list[str], list[str]]:
    """The sorted names of the subfolders and files in a folder of `root`, without output and links that lead back."""
    names = folder.split("/")
    if folder.startswith("/") or ".." in names:
        return [], []
    entries = _visible(root / folder, [])
    return [name for name in entries.folders if is_searched(root / folder / name)], list(entries.files)


def files_of(root: Path, suffixes: Sequence[str], folder: str = "") -> list[str]:
    """The paths from `root` of the files in one folder of it that have one of these suffixes, sorted."""
    by_suffix = _visible(root / folder, []).by_suffix
    names = sorted(name for suffix in suffixes for name in by_suffix.get(suffix, ()))
    return [f"{folder}/{name}" for name in names] if folder else names


def first_file(
    root: Path, suffixes: Sequence[str], matches: Callable[[Path], bool], *, levels: int = 1, most: int = 20
) -> str:
    """The first file of these suffixes that `matches`, in a folder and these many levels below it; "" if none does.

    In a folder of more than `most` such files, some of them are inspected.
    """
    places = [""]
    for level in range(levels + 1):
        for place in places:
            for file in spread(files_of(root, suffixes, place), most):
                if matches(root / file):
                    return file
        below = ((place, name) for place in places if level < levels for name in listing(root, place)[0])
        places = [f"{place}/{name}" if place else name for place, name in below]
    return ""


def spread(names: Sequence[str], most: int) -> Sequence[str]:
    """At most `most` of these names, evenly distributed: a sample of the files in a folder."""
    return names[:: -(-len(names) // most)] if names else names


def irregular(root: Path, folders: Iterable[str], suffix: str) -> dict[str, str]:
    """What has the name of an annotation file in these folders of `root`, and is none: its path, and what it is."""
    found: dict[str, str] = {}
    for folder in sorted(folders):
        entries = _visible(root / folder, [])
        kinds = dict.fromkeys(entries.folders, "a folder")
        kinds |= dict.fromkeys(set(entries.others) - entries.links, "a pipe, a socket or a device")  # see `walk`
        for name in sorted(kinds):
            if name.lower().endswith(suffix):
                found[f"{folder}/{name}" if folder else name] = kinds[name]
    return found


def suffixes_below(root: Path, *, levels: int = 4) -> set[str]:
    """The suffixes, in lower case, of the visible files in a folder and its subfolders, as far as these many levels."""
    found, folders = set[str](), [root]
    for _ in range(levels):
        entries = {folder: _visible(folder, []) for folder in folders}
        found = found.union(*(one.suffixes for one in entries.values()))
        below = (folder / name for folder, one in entries.items() for name in one.folders)
        folders = [folder for folder in below if is_searched(folder)]
    return found


def is_searched(folder: Path) -> bool:
    """Whether a folder in a dataset is a part of it: no output, and no link to a folder that it is in."""
    back = is_link(folder) and _is_inside(_real(folder.parent), _real(folder))
    return not back and not is_output_folder(folder)


def _visible(folder: Path, findings: list[Finding]) -> Entries:
    """The visible entries of a folder; problems go to `findings`."""
    try:
        entries = entries_of(folder)
    except OSError as error:
        problem = f"cannot be read: {reason(error)}"
        findings.append(Finding("path.unreadable", "error", problem, Place(folder), "check its permissions"))
        return _NO_ENTRIES
    for name in entries.invalid:
        problem = f"holds a file whose name is not valid text: {name!a}"
        findings.append(Finding("path.name", "error", problem, Place(folder), "rename it and its counterpart"))
    return entries


def _real(path: Path | str) -> str:
    """A path with its links resolved; unlike `Path.resolve`, it accepts circular links."""
    return os.path.realpath(path)


def _is_inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _link_findings(walked: _Walk) -> list[Finding]:
    findings = []
    if walked.followed:
        findings.append(_followed(walked.root / min(walked.followed), len(walked.followed)))
    if walked.refused:
        refused = sorted(set(walked.refused))
        one = len(refused) == 1
        what = "a link that leads" if one else f"{len(refused)} links that lead"
        problem = f"has {what} to no file or folder, or in a circle, passed over: {listed(refused, most=3)}"
        hint = f"get the file that {'it points' if one else 'they point'} to, or delete {'it' if one else 'them'}"
        findings.append(Finding("path.link", "warning", problem, Place(walked.root), hint, len(refused)))
    return findings


def link_hint(findings: Iterable[Finding], usual: str) -> str:
    """The hint for a folder without images or annotations: to get those that links lead to, if they lead nowhere."""
    found = next((finding for finding in findings if finding.code == "path.link"), None)
    return usual if found is None else f"the folder {found.problem}: {found.hint}"


def _followed(link: Path, count: int) -> Finding:
    problem = "is a link that leads out of the dataset"
    problem = f"{problem}, and is followed" if count == 1 else f"{problem}, one of {count} that are followed"
    hint = "nothing is written through it: to change the files behind it, copy them into the dataset"
    return Finding("path.linked", "warning", problem, Place(link), hint, count)


def links_among(root: Path, paths: Iterable[Path]) -> list[Finding]:
    """The remark about those of these files in the dataset that are links out of it, or in folders that are."""
    real = _real(root)
    links = {first_link(path, root) for path in paths} - {None}
    followed = sorted(link for link in links if link is not None and not _is_inside(_real(link), real))
    return [_followed(followed[0], len(followed))] if followed else []


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings with one remark about all links that are followed, where several folders have some."""
    findings = list(dict.fromkeys(findings))
    links = [finding for finding in findings if finding.code == "path.linked"]
    if len(links) < 2:
        return tuple(findings)
    count = sum(finding.count for finding in links)
    one = _followed(links[0].place.path, count)
    return tuple(one if finding is links[0] else finding for finding in findings if finding not in links[1:])


def _outputs(root: Path, outputs: Sequence[str]) -> list[Finding]:
    """A finding that counts the images in output that is passed over."""
    images = sum(
        file.lower().endswith(tuple(IMAGE_SUFFIXES))
        for output in outputs
        for file in ([output] if is_file(root / output) else chain(*(files for *_, files in os.walk(root / output))))
    )
    if not images:
        return []
    problem = (
        f"{counted(images, 'image')} in the output of vocdet or Ultralytics, passed over: {listed(outputs, most=3)}"
    )
    hint = "to read such a folder, use its own path"
    return [Finding("path.output", "warning", problem, Place(root), hint, count=images)]
