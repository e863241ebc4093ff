"""Pretrain a detector, and store its weights as a start that `--weights auto` takes, with a card.

    python examples/pretrain_start.py DATASET --weights FILE [--net mb3-small] [--epochs 18 22] [--runs runs]

It trains on the split `trainval` in rounds, each from the weights of the one before, with a learning rate that rises
and falls; `--epochs` are those of each round. It takes hours; started again after an interruption, it continues. The
weights and the card go to `templates/starts`. FILE may be an earlier start, which is trained further.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

import vocdet

vocdet.prepare_cpu()  # before torch is loaded: training on a CPU is faster

STARTS = Path(__file__).parents[1] / "templates" / "starts"
CARD = """# {file}

Weights to start a training from: `vocdet train-ssd --net {net}` takes them where it finds no backbone run of this net.

- Network: SSD on {net} with the neck `pan`, {side} pixels, {labels} labels.
- Trained on {images} images of `{data}` for {epochs} epochs in {rounds} by `{optimizer}`, \
starting from `{origin}` (SHA-256 `{sha256}`).
{earlier}\
- Made by `python examples/pretrain_start.py {data} --weights {origin} --net {net} --epochs {each} --seed {seed}`.
- Written by vocdet {version}. Convolutions are stored with 16 bits; a training uses 32.

It is not a finished detector, and was not evaluated itself, only trainings that start from it: `docs/measurements.md`.
"""


def pretrained(options: argparse.Namespace) -> list[Path]:
    """The runs of all rounds, trained to their end; an interrupted one continues."""
    runs: list[Path] = []
    for number, epochs in enumerate(options.epochs):
        run = options.runs / f"ssd-{options.net}-{number + 1}"
        if (run / "state.safetensors").exists():
            vocdet.train_detector(options.dataset, runs=options.runs, resume=run)
        elif not run.exists():
            weights = str(runs[-1] if runs else options.weights)
            vocdet.train_detector(
                options.dataset, f"ssdlite-{options.net}", runs=options.runs, weights=weights, neck="pan",
                epochs=epochs, split="trainval", seed=options.seed + number,
            )  # fmt: skip
        runs.append(run)
    return runs


def trained(card: Path) -> str:
    """What an earlier start and those before it were trained on, from its card; "" without one."""
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    trainings = re.findall(r"^- (?:Trained|That start: trained) (.*)$", text, re.MULTILINE)
    return "".join(f"- That start: trained {training}\n" for training in trainings)


def store(runs: Sequence[Path], options: argparse.Namespace) -> Path:
    """Write the weights of the last of these runs and a card."""
    from vocdet.models.checkpoint import load_checkpoint, save_checkpoint
    from vocdet.wording import counted

    model, info = load_checkpoint(runs[-1] / "best.safetensors")
    rounds = [load_checkpoint(run / "best.safetensors")[1] for run in runs]
    assert rounds[0].start
    for parameter in model.parameters():
        if parameter.dim() > 1:  # norms and biases are small, and have a wide range
            parameter.data = parameter.data.half()
    origin = Path(rounds[0].start.name).name
    recipe = info.recipe | {"model": info.recipe["model"] | {"weights": origin}}  # without a folder of this machine
    start = msgspec.structs.replace(rounds[0].start, name=origin)
    folder: Path = options.to
    data: Path = options.dataset
    earlier = trained(options.weights.with_suffix(".md"))
    file = folder / f"{info.task}-{info.backbone.name}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(file, model, msgspec.structs.replace(info, recipe=recipe, start=start))
    epochs = [one.recipe["train"]["epochs"] for one in rounds]
    card = CARD.format(
        file=file.name, net=info.backbone.name, side=info.size[0], labels=len(info.labels), data=data.name,
        images=len(vocdet.read(data)), epochs=sum(epochs), rounds=counted(len(epochs), "round"),
        each=" ".join(map(str, epochs)), seed=options.seed, optimizer=info.recipe["train"]["optimizer"],
        earlier=earlier, origin=origin, sha256=start.sha256, version=info.vocdet,
    )  # fmt: skip
    file.with_suffix(".md").write_text(card, encoding="utf-8")
    return file


def main() -> None:
    """Train, and store the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--weights", type=Path, required=True, help="of an ImageNet classifier, or a start")
    parser.add_argument("--net", default="mb3-small")
    parser.add_argument("--epochs", type=int, nargs="+", default=[18, 22], help="of each round")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--to", type=Path, default=STARTS)
    options = parser.parse_args()
    print(store(pretrained(options), options))


if __name__ == "__main__":
    main()
