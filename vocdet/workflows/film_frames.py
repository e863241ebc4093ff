"""Take images to annotate out of videos."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vocdet.errors import ArgumentError, ImageError, VocdetError, raise_all
from vocdet.file_names import folded
from vocdet.files import check_writable, write_bytes
from vocdet.inference.frames import MediaSource, find_sources, open_video, quiet
from vocdet.inference.output import encode_picture
from vocdet.inference.still_frames import differing_frames

LONGEST_STEM = 180  # bytes of a stem; file systems allow 255, including the number of the frame


@dataclass(frozen=True, slots=True)
class FilmFrame:
    """A frame that was due."""

    path: Path  # of its image
    written: bool  # False: it hardly differs from the one before, or its image exists
    differs: bool
    done: int  # frames of its video up to this one
    total: int  # as the video states; 0: unknown


def frames(videos: Sequence[str], *, out: Path, every: float = 1.0) -> Generator[FilmFrame, None, None]:
    """Write a frame in every `every` seconds of each video as `<video>_<frame>.jpg`, without those that hardly differ.

    Videos of one name in different folders get a number in the order in which they are given. Existing files are never
    replaced, so that an interrupted call can be repeated. Videos that cannot be decoded are raised together at the end.
    """
    if not every > 0:
        raise ArgumentError(f"every is {every:g}", hint="give the seconds between two frames: `every=1.0`")
    found = list(dict.fromkeys(find_sources(videos)))  # duplicates count once
    items, images = ([one for one in found if (one.kind == "image") is kind] for kind in (False, True))
    written = Path(os.path.realpath(out))
    for image in images:
        if not items or written not in Path(os.path.realpath(image.address)).parents:
            raise ArgumentError("is not a video", place=image.path, hint="give video files")
    check_writable(out, inside=True)
    errors: list[VocdetError] = []
    stems = _stems(items)
    for item in items:
        try:
            with quiet(), open_video(item) as video:
                for frame, differs in differing_frames(video, every):
                    path = out / f"{stems[item]}_{frame.number:06}.jpg"
                    new = differs and not path.exists()
                    if new:
                        write_bytes(path, encode_picture(path, frame.pixels))
                    yield FilmFrame(path, new, differs, frame.number + 1, video.count)
        except ImageError as error:
            errors.append(error)
    raise_all(errors)


def _stems(items: Sequence[MediaSource]) -> dict[MediaSource, str]:
    """How the images of each video begin: with its name, shortened, and a number if another has the same."""
    stems: dict[MediaSource, str] = {}
    taken: set[str] = set()
    for item in items:
        stem = Path(item.name).stem
        while len(os.fsencode(stem)) > LONGEST_STEM:
            stem = stem[:-1]
        name, number = stem, 1
        while folded(name) in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(folded(name))
        stems[item] = name
    return stems
