"""Generate a detection dataset: handwritten digits on photographs, both from files of scikit-learn.

The result is two VOC folders. `train` and `test` share neither scans of digits nor backgrounds. Boxes and masks follow
the ink to the pixel.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vocdet.errors import OutputError
from vocdet.files import make_folder, unwritable
from vocdet.formats.voc.masks import palette_png
from vocdet.formats.voc.preserved import Header
from vocdet.formats.voc.write import WrittenObject, annotation_text
from vocdet.inference.output import QUALITY
from vocdet.outputs import write_marker

TRAIN_SHARE = 0.75  # of the scans of every digit; the others are for the test images
PHOTO_SPLIT = 0.6  # train images show the photographs left of this share of their width, test images right of it
CROP = (0.3, 0.45)  # height of a background as a share of the photograph's; both sides are wide enough for it
PADDING = 2  # pixels of padding around a scan: its ink touches the border, and cubic weights reach this far
INK = 0.45  # gray level of half coverage: thin strokes break above it, the loops of 8 and 9 fill below it
CONTRAST = 3.0  # contrast against the scan: sharp, but gray loops stay gray
ROTATION = 10.0  # degrees either way; much more turns a 6 into a 9
STRETCH = 0.1  # of the aspect ratio, either way
DIGIT_GAP = 3  # pixels between the boxes of two digits, so that no ink hides other ink
PLACES = 12  # positions tried for a digit; the free one with the least contrast is used
LAYOUTS = 20  # tried for an image until one has enough digits
LIGHT = 0.5  # luminance above which the ink is dark, and below which it is light
HUE_SHARE = 0.35  # largest share of a hue in an ink, so that it stays close to black or white
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # luminance of RGB, ITU-R BT.601

Pixels = NDArray[np.uint8]  # (H, W, 3) RGB
PixelBox = tuple[int, int, int, int]  # xmin, ymin, xmax, ymax; pixels, 0-based, half-open


@dataclass(frozen=True, slots=True)
class DigitDatasets:
    """Two VOC folders; `train` has no splits yet."""

    train: Path
    test: Path
    labels: tuple[str, ...]
    images: tuple[int, int]  # in train, in test
    objects: tuple[int, int]


@dataclass(frozen=True, slots=True)
class PictureOptions:
    """Size and digits of the generated pictures."""

    size: tuple[int, int] = (320, 240)  # width, height
    digits: tuple[int, int] = (2, 6)  # fewest and most in an image
    pixels: tuple[int, int] = (45, 120)  # smallest and largest height of a digit

    def __post_init__(self) -> None:
        width, height = self.size
        if not 1 <= self.digits[0] <= self.digits[1] <= 254:
            raise ValueError(f"{self.digits[0]} to {self.digits[1]} digits an image: a mask holds 1 to 254")
        if not 16 <= self.pixels[0] <= self.pixels[1]:
            raise ValueError(
                f"digits of {self.pixels[0]} to {self.pixels[1]} pixels: 16 is the smallest legible height"
            )
        if 1.5 * self.pixels[1] > min(width, height):  # 1.5: with padding, rotated and stretched
            raise ValueError(f"a digit of {self.pixels[1]} pixels needs more room than {width} x {height}")


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Scans and photographs for one of the two folders."""

    scans: tuple[NDArray[np.float32], ...]  # by label: (N, 8, 8), paper 0 to ink 1
    photos: tuple[Pixels, ...]  # the sides of the photographs for this folder


@dataclass(frozen=True, slots=True, eq=False)
class ComposedPicture:
    """One composed image; object k (from 0) has the value k + 1 in the mask."""

    pixels: Pixels
    mask: NDArray[np.uint8]  # (H, W)
    labels: tuple[int, ...]
    boxes: tuple[PixelBox, ...]  # tight around the ink


def compose(
    folder: Path,
    *,
    images: int = 640,
    test_images: int = 128,
    labels: int = 10,
    options: PictureOptions = PictureOptions(),
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> DigitDatasets:
    """Generate `folder/train` and `folder/test`: JPEGImages, Annotations like labelImg's, SegmentationObject.

    All of `test` is its test split; `train` has no splits yet. The labels are the first `labels` digits; an image has
    fewer digits than requested only if no more fit. The same arguments give the same files. Each folder appears whole;
    an existing one is an `OutputError`. `progress` gets the images done and their total.
    """
    if not 1 <= labels <= 10 or min(images, test_images) < 1:
        raise ValueError(f"{labels} labels (of ten digits), {images} and {test_images} images")
    paths = (folder / "train", folder / "test")
    for path in paths:
        if path.exists():
            raise OutputError("exists already", place=path, hint="delete it, or choose another folder")
    names = tuple(str(digit) for digit in range(labels))
    counts, objects, done = (images, test_images), [0, 0], 0
    both = sources(labels, seed)
    make_folder(folder)
    try:
        new = not any(folder.iterdir())
        with tempfile.TemporaryDirectory(dir=folder, prefix=".composing-") as temporary:
            for split, stem in _stems(counts):
                picture = draw_picture(
                    both[split], options, np.random.default_rng((seed, split, done - split * images))
                )
                write_composed(Path(temporary, paths[split].name), stem, picture, names)
                objects[split] += len(picture.labels)
                done += 1
                if progress:
                    progress(done, sum(counts))
            image_set = Path(temporary, "test", "ImageSets", "Main", "test.txt")
            image_set.parent.mkdir(parents=True)
            image_set.write_text("".join(f"{stem}\n" for split, stem in _stems(counts) if split), encoding="utf-8")
            for path in paths:
                Path(temporary, path.name).rename(path)
        if new:
            write_marker(folder, "demo")  # its photographs do not belong to a dataset around it
    except OSError as error:
        raise unwritable(folder, error) from error
    return DigitDatasets(*paths, names, counts, (objects[0], objects[1]))


def _stems(counts: tuple[int, int]) -> list[tuple[int, str]]:
    """The split (0: train, 1: test) and the stem of every image."""
    return [
        (split, f"{name}_{i:05}") for split, name in enumerate(("train", "test")) for i in range(1, counts[split] + 1)
    ]


def sources(labels: int, seed: int) -> tuple[Material, Material]:
    """The material for train and for test, without overlap: scans of the first `labels` digits, and photographs."""
    from sklearn.datasets import load_digits, load_sample_images  # takes a second

    bunch = load_digits()
    order = np.random.default_rng((seed, 2)).permutation(len(bunch.target))
    images, targets = bunch.images[order].astype(np.float32) / 16, bunch.target[order]
    train, test = [], []
    for digit in range(labels):
        scans = images[targets == digit]
        cut = round(TRAIN_SHARE * len(scans))
        train.append(scans[:cut])
        test.append(scans[cut:])
    photos = load_sample_images().images
    cuts = [round(PHOTO_SPLIT * photo.shape[1]) for photo in photos]
    return (
        Material(tuple(train), tuple(photo[:, :cut] for photo, cut in zip(photos, cuts, strict=True))),
        Material(tuple(test), tuple(photo[:, cut:] for photo, cut in zip(photos, cuts, strict=True))),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Stamp:
    """A digit at a position in a picture."""

    label: int
    alpha: NDArray[np.float32]  # (h, w) how much of the ink covers each pixel
    box: PixelBox  # of `alpha` in the picture


def draw_picture(source: Material, options: PictureOptions, random: np.random.Generator) -> ComposedPicture:
    """Compose one picture; `random` determines everything in it."""
    canvas = draw_background(source, options.size, random).astype(np.float32)
    light = np.asarray(canvas @ LUMA / 255, np.float32)  # (H, W)
    stamps: list[Stamp] = []
    for _ in range(LAYOUTS):
        stamps = max(stamps, lay_out(source, options, light, random), key=len)
        if len(stamps) >= options.digits[0]:
            break
    mask = np.zeros(light.shape, np.uint8)
    for k, stamp in enumerate(stamps, start=1):
        xmin, ymin, xmax, ymax = stamp.box
        window = canvas[ymin:ymax, xmin:xmax]
        under = float(np.average(light[ymin:ymax, xmin:xmax], weights=stamp.alpha))
        window += stamp.alpha[..., None] * (draw_ink(under, random) - window)
        mask[ymin:ymax, xmin:xmax][stamp.alpha > 0.5] = k
    boxes = tuple(_tight(mask == k) for k in range(1, len(stamps) + 1))
    return ComposedPicture(np.rint(canvas).astype(np.uint8), mask, tuple(stamp.label for stamp in stamps), boxes)


def draw_background(source: Material, size: tuple[int, int], random: np.random.Generator) -> Pixels:
    """A crop of a photograph at the size of the picture, flipped with probability 0.5."""
    photo = source.photos[random.integers(len(source.photos))]
    height, width = photo.shape[:2]
    aspect = size[0] / size[1]
    h = min(random.uniform(*CROP) * height, width / aspect)
    w = h * aspect
    x, y = int(random.uniform(0, width - w)), int(random.uniform(0, height - h))
    crop = photo[y : y + int(h), x : x + int(w)]
    crop = crop[:, ::-1] if random.random() < 0.5 else crop
    return np.asarray(cv2.resize(np.ascontiguousarray(crop), size, interpolation=cv2.INTER_CUBIC), np.uint8)


def lay_out(
    source: Material, options: PictureOptions, light: NDArray[np.float32], random: np.random.Generator
) -> list[Stamp]:
    """Digits at free positions of a picture with luminance `light` (H, W); digits without one are left out."""
    height, width = light.shape
    stamps: list[Stamp] = []
    for _ in range(random.integers(options.digits[0], options.digits[1], endpoint=True)):
        label = int(random.integers(len(source.scans)))
        scan = source.scans[label][random.integers(len(source.scans[label]))]
        alpha = draw_digit(scan, random.uniform(*options.pixels), random)
        h, w = alpha.shape
        free: list[tuple[float, PixelBox]] = []
        for x, y in random.integers((width - w + 1, height - h + 1), size=(PLACES, 2)).tolist():
            box = (x, y, x + w, y + h)
            if not any(_touch(box, other.box) for other in stamps):
                free.append((float(cv2.meanStdDev(light[y : y + h, x : x + w])[1][0, 0]), box))
        if free:
            stamps.append(Stamp(label, alpha, min(free)[1]))
    return stamps


def draw_digit(scan: NDArray[np.float32], pixels: float, random: np.random.Generator) -> NDArray[np.float32]:
    """The coverage of each pixel, (h, w) in [0, 1], by a scan at `pixels` height, slightly rotated and stretched."""
    scale = pixels / len(scan)
    room = int(1.5 * pixels)
    matrix = np.asarray(cv2.getRotationMatrix2D((0, 0), random.uniform(-ROTATION, ROTATION), scale), np.float64)
    matrix[:, 0] *= 1 + random.uniform(-STRETCH, STRETCH)
    middle = PADDING + (len(scan) - 1) / 2
    matrix[:, 2] = room / 2 - matrix[:, :2] @ (middle, middle)
    ink = cv2.warpAffine(np.pad(scan, PADDING), matrix, (room, room), flags=cv2.INTER_CUBIC)
    alpha = np.asarray(np.clip((ink - INK) * CONTRAST + 0.5, 0, 1), np.float32)
    xmin, ymin, xmax, ymax = _tight(alpha > 0)
    return alpha[ymin:ymax, xmin:xmax]


def draw_ink(under: float, random: np.random.Generator) -> NDArray[np.float32]:
    """An RGB color that stands out from luminance `under` (0 to 1): a random hue close to black or white."""
    hue = random.uniform(0, 255, 3)
    base = 0 if under > LIGHT else 255
    return np.asarray(base + random.uniform(0, HUE_SHARE) * (hue - base), np.float32)


def write_composed(root: Path, stem: str, picture: ComposedPicture, labels: tuple[str, ...]) -> None:
    """The three files of one picture in a VOC folder."""
    files = {
        kind: root / kind / f"{stem}{suffix}"
        for kind, suffix in (("JPEGImages", ".jpg"), ("Annotations", ".xml"), ("SegmentationObject", ".png"))
    }
    for path in files.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    photo = files["JPEGImages"]
    Image.fromarray(picture.pixels).save(photo, quality=QUALITY)
    files["SegmentationObject"].write_bytes(palette_png(picture.mask))
    text = annotation_text(
        photo.name,
        (picture.pixels.shape[1], picture.pixels.shape[0]),
        [WrittenObject(labels[i], box) for i, box in zip(picture.labels, picture.boxes, strict=True)],
        header=Header(segmented="1"),
    )
    files["Annotations"].write_text(text, encoding="utf-8")


def _tight(inside: NDArray[np.bool_]) -> PixelBox:
    xs, ys = np.flatnonzero(inside.any(axis=0)), np.flatnonzero(inside.any(axis=1))
    return int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1


def _touch(a: PixelBox, b: PixelBox) -> bool:
    return a[0] < b[2] + DIGIT_GAP and b[0] < a[2] + DIGIT_GAP and a[1] < b[3] + DIGIT_GAP and b[1] < a[3] + DIGIT_GAP
