"""A hash of every image of a dataset with its annotation, to report later what changed."""

from __future__ import annotations

import hashlib

import numpy as np

from vocdet.data.dataset import Dataset


def image_digests(dataset: Dataset) -> dict[str, str]:
    """A hash by stem: of the image's file name, its size, and its objects with the names of their labels."""
    images, objects = dataset.images, dataset.objects
    ends = np.searchsorted(objects.image, np.arange(len(images) + 1)).tolist()
    names = [label.encode() + b"\0" for label in dataset.labels]
    label = objects.label.tolist()
    flags = (objects.difficult | (objects.crowd << 1)).astype(np.uint8)
    digests = {}
    for row, stem in enumerate(images.stems):
        first, last = ends[row], ends[row + 1]
        digest = hashlib.blake2b(digest_size=8)
        digest.update(f"{images.files[row]}\0{images.widths[row]}\0{images.heights[row]}\0".encode())
        digest.update(b"".join(names[k] for k in label[first:last]))
        digest.update(objects.box[first:last].tobytes() + flags[first:last].tobytes())
        for k in range(first, last):
            digest.update(objects.segmentation[k] + b"\1")
        digests[stem] = digest.hexdigest()
    return digests
