"""What a training step sees, the same for the same seed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.inputs.batches import Batch, EpochPlan, batches, collate
from vocdet.inputs.crop_samples import CropAugmentation, CropSamples
from vocdet.inputs.detection_samples import DetectionSamples
from vocdet.inputs.prefetch import prefetch
from vocdet.inputs.resizing import ResizeShortestEdge
from vocdet.inputs.samples import Sample
from vocdet.inputs.transforms import FILL, Augmentation
from vocdet.mask_crops import MaskCrops

MakeDataset = Callable[..., Dataset]
RNG = np.random.default_rng


def is_red(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (image[..., 0] > 127) & (image[..., 1] < 64)


def around(mask: NDArray[np.bool_]) -> list[int]:
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1]


def test_a_scene_without_augmentation_is_the_image_at_the_networks_size(make_dataset: MakeDataset) -> None:
    scenes = DetectionSamples(make_dataset([[(6, 8, 30, 20), (33, 4, 57, 36)]]), (80, 60), None)
    sample = scenes.draw(0, RNG(0))
    assert sample.image.shape == (80, 60, 3)
    assert sample.boxes.tolist() == [[6, 16, 30, 40], [33, 8, 57, 72]]
    assert sample.labels.tolist() == [0, 1]
    assert np.abs(np.array(around(is_red(sample.image))) - (6, 8, 57, 72)).max() <= 1


def test_crowds_are_not_learned(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([[(6, 8, 30, 20), (33, 4, 57, 36)], [(1, 1, 9, 9)]], crowd=[0, 2])
    scenes = DetectionSamples(dataset, (40, 60), None)
    assert scenes.draw(0, RNG(0)).labels.tolist() == [1]
    assert scenes.draw(1, RNG(0)).boxes.shape == (0, 4)
    crops = CropSamples(dataset, 32, context=0.1)
    assert len(crops) == 1
    assert crops.labels.tolist() == [1]


def test_an_image_without_objects_is_a_scene_too(make_dataset: MakeDataset) -> None:
    scenes = DetectionSamples(make_dataset([[], [(6, 8, 30, 20)]]), (64, 64), Augmentation(mosaic=0.5))
    for seed in range(30):
        sample = scenes.draw(0, RNG(seed))
        assert sample.boxes.shape == (len(sample.labels), 4)


def test_boxes_follow_their_pixels_through_every_augmentation(make_dataset: MakeDataset) -> None:
    scenes = DetectionSamples(make_dataset([[(10, 12, 40, 30)]] * 3), (96, 96), Augmentation(color=0, mosaic=0))
    for seed in range(60):
        sample = scenes.draw(0, RNG(seed))
        if len(sample.boxes):
            assert np.abs(sample.boxes[0] - around(is_red(sample.image))).max() <= 1


def test_boxes_follow_their_pixels_through_any_flip_and_turn(make_dataset: MakeDataset) -> None:
    only = Augmentation(whole=1, zoom_out=0, color=0, rotate=True)
    scenes = DetectionSamples(make_dataset([[(6, 4, 30, 12)]]), (96, 96), only)
    places = set()
    for seed in range(60):
        sample = scenes.draw(0, RNG(seed))
        assert np.abs(sample.boxes[0] - around(is_red(sample.image))).max() <= 1
        places.add(tuple(np.rint(sample.boxes[0]).astype(int).tolist()))
    assert len(places) == 8  # all ways that a square can lie


def test_crops_are_turned_in_training_only(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([[(20, 10, 40, 20)]])
    still, turned = (
        CropSamples(dataset, 40, context=0.5, augmentation=CropAugmentation(rotate=True) if a else None)
        for a in (False, True)
    )
    upright = around(is_red(still.draw(0, RNG(0)).image))
    assert all(around(is_red(still.draw(0, RNG(seed)).image)) == upright for seed in range(9))
    shapes = [around(turned.draw(0, RNG(seed)).image[..., 0] > 127) for seed in range(30)]
    wide = [x1 - x0 > y1 - y0 for x0, y0, x1, y1 in shapes]
    assert any(wide)
    assert not all(wide)
    assert len({x1 - x0 for x0, _, x1, _ in shapes}) > 8  # at any angle


def test_a_mosaic_shows_four_images_with_their_boxes(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([[(10, 12, 40, 30)]] * 3)
    plain = Augmentation(whole=1, zoom_out=0, flip=0, color=0, mosaic=1)
    scenes = DetectionSamples(dataset, (96, 96), plain)
    for seed in range(10):
        sample = scenes.draw(1, RNG(seed))
        assert len(sample.boxes) == 4
        painted = np.zeros((96, 96), np.bool_)
        for x0, y0, x1, y1 in np.rint(sample.boxes).astype(int):
            painted[y0:y1, x0:x1] = True
        assert (painted != is_red(sample.image)).mean() < 0.02
        assert not (sample.image == FILL).all(axis=2).any()


def test_a_sample_does_not_change_the_image_it_comes_from(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([[(10, 12, 40, 30)]])
    scenes, plain = DetectionSamples(dataset, (40, 60), Augmentation()), DetectionSamples(dataset, (40, 60), None)
    before = plain.draw(0, RNG(0)).image.copy()
    for seed in range(10):
        scenes.draw(0, RNG(seed)).image[:] = 0
        plain.draw(0, RNG(seed)).image[:] = 0
    assert np.array_equal(DetectionSamples(dataset, (40, 60), None).draw(0, RNG(0)).image, before)
    assert np.array_equal(plain.draw(0, RNG(0)).image, before)


def test_a_crop_is_a_square_around_its_object(make_dataset: MakeDataset) -> None:
    # 20 wide and 10 high, so the square is 20 pixels, of which the middle half is red
    dataset = make_dataset([[(20, 10, 40, 20)]])
    tight = CropSamples(dataset, 40, context=0.0).draw(0, RNG(0))
    assert tight.image.shape == (40, 40, 3)
    assert np.abs(np.array(around(is_red(tight.image))) - (0, 10, 40, 30)).max() <= 1
    wide = CropSamples(dataset, 40, context=0.5).draw(0, RNG(0))
    assert np.abs(np.array(around(is_red(wide.image))) - (10, 15, 30, 25)).max() <= 1
    assert tight.boxes.shape == (0, 4)
    assert tight.labels.tolist() == [0]


def test_a_crop_at_the_edge_is_filled_up_with_gray(make_dataset: MakeDataset) -> None:
    sample = CropSamples(make_dataset([[(0, 0, 20, 40)]]), 40, context=0.0).draw(0, RNG(0))
    assert (sample.image[:, :9] == FILL).all()
    assert np.abs(np.array(around(is_red(sample.image))) - (10, 0, 30, 40)).max() <= 1


def test_an_augmented_crop_still_shows_its_object(make_dataset: MakeDataset) -> None:
    crops = CropSamples(make_dataset([[(20, 10, 40, 30)]]), 48, context=0.15, augmentation=CropAugmentation())
    shares = [float((crops.draw(0, RNG(seed)).image[..., 0] > 100).mean()) for seed in range(30)]
    assert 0.2 < min(shares) < max(shares) < 1
    assert len({round(s, 4) for s in shares}) > 10


def test_crops_are_mirrored_half_the_time_and_never_where_that_makes_no_sense(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([[(0, 0, 20, 40)]])  # beyond the left edge all is gray; the right is black
    for flip, fewest, most in ((True, 10, 30), (False, 0, 0)):
        crops = CropSamples(dataset, 40, context=0.5, augmentation=CropAugmentation(flip=flip))
        rows = [crops.draw(0, RNG(seed)).image[20].mean(axis=1) for seed in range(40)]
        assert fewest <= sum(row[2] < row[-3] for row in rows) <= most


def test_every_object_is_one_crop_with_its_label(make_dataset: MakeDataset) -> None:
    crops = CropSamples(make_dataset([[(1, 1, 9, 9), (20, 20, 30, 30)], [], [(5, 5, 15, 15)]]), 32, context=0)
    assert crops.labels.tolist() == [0, 1, 0]
    assert [crops.draw(i, RNG(0)).labels.tolist() for i in range(3)] == [[0], [1], [0]]


def test_small_objects_in_large_images_keep_their_detail(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([[(200, 100, 216, 116)]], size=(400, 300))
    sample = CropSamples(dataset, 32, context=0.5).draw(0, RNG(0))
    assert np.abs(np.array(around(is_red(sample.image))) - (8, 8, 24, 24)).max() <= 1


def collated(samples: list[Sample]) -> Batch:
    rows = dict.fromkeys(row for sample in samples for row in sample.rows)
    return collate(np.stack([sample.image for sample in samples]), samples, tuple(rows))


def test_a_batch_is_padded_to_its_largest_image() -> None:
    def sample(n: int) -> Sample:
        return Sample(np.full((4, 6, 3), n, np.uint8), np.full((n, 4), n, float), np.full(n, n))

    batch = collated([sample(0), sample(2), sample(1)])
    assert len(batch) == 3
    assert (batch.images.shape, batch.images.dtype) == ((3, 3, 4, 6), torch.uint8)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.labels.tolist() == [[-1, -1], [2, 2], [1, -1]]
    assert batch.boxes[:, :, 0].tolist() == [[0, 0], [2, 2], [1, 0]]
    assert batch.boxes.dtype == torch.float32
    assert collated([sample(0)]).boxes.shape == (1, 0, 4)


def test_a_part_of_a_batch_has_what_belongs_to_its_images() -> None:
    def sample(count: int, value: int) -> Sample:
        cuts = [(value, k, np.full((2, 3), k % 2, np.uint8)) if k != 1 else None for k in range(count)]
        return Sample(np.full((4, 6, 3), value, np.uint8), np.full((count, 4), value, np.float64),
                      np.arange(count), (value,), MaskCrops.of(cuts))  # fmt: skip

    whole = replace(collated([sample(3, 1), sample(0, 2), sample(2, 3)]), sizes=torch.tensor([[1, 2], [3, 4], [4, 6]]))
    for start, stop, values in ((0, 3, [1, 1, 1, 3, 3]), (0, 1, [1, 1, 1]), (1, 3, [3, 3]), (1, 2, []), (3, 3, [])):
        part = whole.part(start, stop)
        assert whole.sizes is not None
        assert part.sizes is not None
        assert part.masks is not None
        assert torch.equal(part.images, whole.images[start:stop])
        assert part.boxes[part.labels >= 0][:, 0].tolist() == values
        assert torch.equal(part.sizes, whole.sizes[start:stop])
        assert len(part.masks) == len(values)
        known = part.labels[part.labels >= 0].numpy() != 1
        assert part.masks.where[:, 0].tolist() == (np.array(values, np.int64) * known).tolist()
        assert part.rows == (1, 2, 3)
    assert whole.masks is not None
    assert np.shares_memory(whole.part(2, 3).masks.pixels, whole.masks.pixels)  # type: ignore[union-attr]
    without_images = collated([replace(sample(1, 1), masks=None)] * 2).part(0, 1)
    assert (without_images.masks, without_images.sizes) == (None, None)


@dataclass
class Numbers:
    """Samples that are their index and a random number."""

    count: int
    size: tuple[int, int] = (1, 1)
    resizing: ResizeShortestEdge | None = None

    def __len__(self) -> int:
        return self.count

    def draw(self, index: int, rng: np.random.Generator, canvas: NDArray[np.uint8] | None = None) -> Sample:
        box = np.array([[index, rng.random(), 0, 0]])
        return Sample(np.zeros((1, 1, 3), np.uint8) if canvas is None else canvas, box, np.array([index]))

    def size_of(self, _index: int, _rng: np.random.Generator, /) -> tuple[int, int]:
        return self.size

    def name(self, index: int) -> str:
        return str(index)


def drawn(batch: int, *, seed: int = 0, epoch: int = 1, shuffle: bool = True) -> list[list[float]]:
    found = batches(Numbers(11), EpochPlan(batch, seed=seed, epoch=epoch, shuffle=shuffle))
    return [box for one in found for box in one.boxes[:, 0, :2].tolist()]


def test_an_epoch_shows_every_sample_once() -> None:
    assert [len(b) for b in batches(Numbers(11), EpochPlan(4, seed=0, epoch=1, shuffle=True))] == [4, 4, 3]
    assert sorted(index for index, _ in drawn(4)) == list(range(11))
    assert [index for index, _ in drawn(4, shuffle=False)] == list(range(11))


def test_the_same_seed_draws_the_same_and_another_seed_or_epoch_something_else() -> None:
    assert drawn(4) == drawn(4)
    assert drawn(4) != drawn(4, seed=1)
    assert drawn(4) != drawn(4, epoch=2)
    assert {r for _, r in drawn(4)}.isdisjoint(r for _, r in drawn(4, epoch=2))


def test_the_size_of_a_batch_does_not_change_what_is_drawn() -> None:
    assert drawn(1) == drawn(4) == drawn(100)


def test_a_pass_resumes_without_drawing_earlier_samples() -> None:
    whole = list(batches(Numbers(11), EpochPlan(4, seed=0, epoch=1, shuffle=True)))
    rest = list(batches(Numbers(11), EpochPlan(4, seed=0, epoch=1, shuffle=True, skip=2)))
    assert len(rest) == 1
    assert torch.equal(rest[0].boxes, whole[2].boxes)
    assert list(batches(Numbers(11), EpochPlan(4, seed=0, epoch=1, shuffle=True, skip=3))) == []


def test_the_shards_of_all_processes_form_every_batch() -> None:
    order = np.random.default_rng(3).permutation(11)
    whole = list(batches(Numbers(11), EpochPlan(4, seed=0, epoch=1, order=order)))
    for world in (1, 2, 3, 5):
        parts = [
            list(batches(Numbers(11), EpochPlan(4, seed=0, epoch=1, order=order, rank=r, world=world)))
            for r in range(world)
        ]
        assert all(len(part) == 3 for part in parts)
        for k, batch in enumerate(whole):
            assert sum((part[k].rows for part in parts), ()) == batch.rows == tuple(order[4 * k : 4 * k + 4].tolist())
            drawn_ = torch.cat([part[k].boxes for part in parts if len(part[k])])
            assert torch.equal(drawn_, batch.boxes)  # the same numbers were drawn, too


def test_a_batch_may_be_empty() -> None:
    (batch,) = batches(Numbers(1, size=(6, 4)), EpochPlan(4, seed=0, epoch=1, rank=1, world=2))
    assert len(batch) == 0
    assert (batch.images.shape, batch.images.dtype) == ((0, 3, 6, 4), torch.uint8)
    assert batch.boxes.shape == (0, 0, 4)
    assert (batch.labels.shape, batch.labels.dtype) == ((0, 0), torch.int64)
    assert batch.rows == ()
    assert list(batches(Numbers(0), EpochPlan(4, seed=0, epoch=1))) == []


def test_a_repeated_sample_is_augmented_again() -> None:
    (batch,) = batches(Numbers(3), EpochPlan(4, seed=0, epoch=1, order=np.array([2, 2, 0, 2])))
    assert batch.rows == (2, 0)
    assert len(set(batch.boxes[:, 0, 1].tolist())) == 4


def test_scenes_are_drawn_the_same_in_batches_of_any_size(make_dataset: MakeDataset) -> None:
    scenes = DetectionSamples(make_dataset([[(10, 12, 40, 30)]] * 5), (64, 64), Augmentation(mosaic=0.5))

    def images(batch: int) -> torch.Tensor:
        return torch.cat([b.images for b in batches(scenes, EpochPlan(batch, seed=3, epoch=2, shuffle=True))])

    assert torch.equal(images(2), images(5))


def test_what_is_made_ahead_comes_in_order() -> None:
    assert list(prefetch(lambda: iter(range(50)), depth=3)) == list(range(50))
    assert list(prefetch(lambda: iter(()))) == []


def test_an_error_while_making_is_raised_where_it_is_read() -> None:
    def make() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("broken")

    reader = prefetch(make)
    assert [next(reader), next(reader)] == [1, 2]
    with pytest.raises(ValueError, match="broken"):
        next(reader)


def test_an_error_before_the_first_is_raised_too() -> None:
    def make() -> Iterator[int]:
        raise KeyError("no images")

    with pytest.raises(KeyError, match="no images"):
        next(prefetch(make))


def test_prefetching_is_bounded_and_stopping_ends_the_thread() -> None:
    made: list[int] = []
    makers: list[threading.Thread] = []

    def make() -> Iterator[int]:
        makers.append(threading.current_thread())
        for i in range(1000):
            made.append(i)
            yield i

    reader = prefetch(make, depth=2)
    assert [next(reader) for _ in range(3)] == [0, 1, 2]
    reader.close()
    for _ in range(500):
        if not makers[0].is_alive():
            break
        time.sleep(0.02)
    assert not makers[0].is_alive()
    assert makers[0] is not threading.current_thread()
    assert len(made) <= 3 + 2 + 2  # read, waiting in line, and the one that found it full


def test_batches_are_made_ahead_as_they_are(make_dataset: MakeDataset) -> None:
    scenes = DetectionSamples(make_dataset([[(10, 12, 40, 30)]] * 5), (64, 64), Augmentation())

    def make() -> Iterator[Batch]:
        return batches(scenes, EpochPlan(2, seed=0, epoch=1, shuffle=True))

    for one, other in zip(make(), prefetch(make), strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.boxes, other.boxes)
        assert torch.equal(one.labels, other.labels)
