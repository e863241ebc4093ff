"""torchvision's side of the benchmarks: decoding, augmentation and batches as in its detection reference."""

from __future__ import annotations

from typing import Any

from vocdet.data.dataset import Dataset


def torchvision_batches(dataset: Dataset, *, batch: int, workers: int) -> Any:
    """A DataLoader of (images, targets), augmented as by `data_augmentation="ssdlite"`; its model resizes them."""
    import torch
    from PIL import Image
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    transforms = v2.Compose(
        [v2.RandomIoUCrop(), v2.RandomHorizontalFlip(), v2.PILToTensor(), v2.ToDtype(torch.float, scale=True),
         v2.ConvertBoundingBoxFormat(tv_tensors.BoundingBoxFormat.XYXY), v2.SanitizeBoundingBoxes(), v2.ToPureTensor()]
    )  # fmt: skip

    class Pictures(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return len(dataset)

        def __getitem__(self, row: int) -> Any:
            sample = dataset[row]
            boxes = tv_tensors.BoundingBoxes(
                torch.tensor(sample.objects.box, dtype=torch.float32),
                format="XYXY",
                canvas_size=(sample.height, sample.width),
            )
            labels = torch.tensor(sample.objects.label + 1, dtype=torch.int64)
            return transforms(Image.open(sample.path).convert("RGB"), {"boxes": boxes, "labels": labels})

    return torch.utils.data.DataLoader(
        Pictures(), batch_size=batch, shuffle=True, num_workers=workers, collate_fn=_zipped, drop_last=True
    )


def _zipped(samples: list[Any]) -> Any:
    return tuple(zip(*samples, strict=True))
