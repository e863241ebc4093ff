"""Take images to annotate out of videos."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vocdet.errors import ArgumentError, ImageError, VocdetError, raise_all
from vocdet.file_names import distinct_names
from vocdet.files import check_writable, write_bytes
from vocdet.inference.frames import find_sources, open_video, quiet
from vocdet.inference.output import encode_picture
from vocdet.inference.still_frames import differing_frames


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
    stems = dict(zip(items, distinct_names((Path(item.name).stem, "") for item in items), strict=True))
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
