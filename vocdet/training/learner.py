"""Everything that training changes, and one step of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vocdet.errors import NotFiniteError
from vocdet.inputs.batches import Batch
from vocdet.training.distributed import Group
from vocdet.training.optim import MovingAverage, set_rate
from vocdet.training.shards import Shards


class Learner:
    """A model, its optimizer and the moving average of its weights; nothing else changes from step to step."""

    def __init__(
        self,
        shards: Shards,
        optimizer: torch.optim.Optimizer,
        average: MovingAverage,
        group: Group,
        *,
        clip: float = 0.0,
        seed: int = 0,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        """`clip` limits the gradient's norm, 0: no limit; a `scaler` is needed for fp16."""
        self.shards, self.optimizer, self.average, self.group = shards, optimizer, average, group
        self._clip, self._seed = clip, seed
        self._scaler = scaler
        if scaler:
            scaler.scale(torch.zeros((), device=shards.parameters[0].device))  # initializes its state

    @property
    def rate(self) -> float:
        """The highest learning rate of the last step."""
        return float(max(group["lr"] for group in self.optimizer.param_groups))

    def step(self, batches: Sequence[Batch], rate: float, number: int) -> tuple[dict[str, float], int]:
        """Train on batches as one step. Returns their losses and the number of images, over all processes.

        `rate` is a share of the peak rate, `number` counts the steps. A loss or a gradient that is not finite raises
        `NotFiniteError`, before any weight changes.
        """
        with self.shards.learning():
            set_rate(self.optimizer, rate)
            self.shards.settle(number)
            scale = self._scaler.get_scale() if self._scaler else 1.0
            learned = [
                self.shards.learn(batch, seed=(self._seed, number, k), scale=scale) for k, batch in enumerate(batches)
            ]
            whole = sum(each.weight for each in learned)
            shares = [each.weight / whole for each in learned]
            losses = {
                name: sum(share * each.losses[name] for share, each in zip(shares, learned, strict=True))
                for name in learned[0].losses
            }
            if not math.isfinite(sum(losses.values())):
                raise self._not_finite("loss", losses, batches)
            with torch.no_grad():
                total = learned[0].gradients
                if len(learned) > 1:
                    torch._foreach_mul_(total, shares[0])
                for share, each in zip(shares[1:], learned[1:], strict=True):
                    torch._foreach_add_(total, each.gradients, alpha=share)
                self._exchange(total, len(batches[-1]) > 0)
                if not self._change(total):
                    raise self._not_finite("gradient of the loss", losses, batches)
        return losses, sum(each.images for each in learned)

    def _not_finite(self, what: str, losses: dict[str, float], batches: Sequence[Batch]) -> NotFiniteError:
        rows = self.group.merge([row for batch in batches for row in batch.rows])
        values = ", ".join(f"{name} {value:.3g}" for name, value in losses.items())
        wider = ' or with `precision="fp32"`' if self.shards.precision else ""
        return NotFiniteError(
            f"the {what} is no longer finite: {values}",
            rows=tuple(dict.fromkeys(rows)),
            hint=f"train with a lower `lr=`{wider}; the last checkpoints remain",
        )

    def _exchange(self, gradients: list[Tensor], took_part: bool) -> None:
        """Add up the gradients of all processes, and average the statistics of their norms."""
        if self.group.world == 1:
            return
        statistics = self.shards.statistics
        participants = torch.tensor([float(took_part)], device=gradients[0].device)
        mine = [value * float(took_part) for value in statistics]
        self.group.sum_flat([*gradients, *mine, participants])
        for value, total in zip(statistics, mine, strict=True):
            value.copy_(total / participants)

    def _change(self, gradients: list[Tensor]) -> bool:
        """Change the weights. Returns False, and changes nothing, if a gradient is not finite.

        In fp16 that happens now and then: the scaler skips the step and lowers its scale.
        """
        parameters = self.shards.parameters
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        if self._scaler:
            self._scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self._clip or math.inf)
        if not self._scaler and not norm.isfinite():
            return False
        if self._scaler:
            self._scaler.step(self.optimizer)
            self._scaler.update()
        else:
            self.optimizer.step()
        self.average.update()
        return True

    def tensors(self) -> dict[str, Tensor]:
        """A copy of the complete state by name: weights, their average, the optimizer and the random generators."""
        tensors = {f"model.{key}": value for key, value in self.shards.model.state_dict().items()}
        tensors |= {f"average.{key}": value for key, value in self.average.model.state_dict().items()}
        for i, parameter in enumerate(self._optimized()):
            for key, value in self.optimizer.state[parameter].items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{i}.{key}"] = value
        tensors["average_steps"] = torch.tensor(self.average.steps)
        tensors["random.cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        if self._scaler:
            tensors |= {f"scaler.{key}": torch.tensor(float(value)) for key, value in self._scaler.state_dict().items()}
        return {key: value.detach().to("cpu", copy=True).contiguous() for key, value in tensors.items()}

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore the result of `tensors()`; a `KeyError` or `ValueError` if it is from another training."""
        for prefix, model in (("model.", self.shards.model), ("average.", self.average.model)):
            state = model.state_dict()
            for key, value in state.items():
                _into(value, tensors[prefix + key])
        self.shards.align()
        self.average.steps = int(tensors["average_steps"])
        for i, parameter in enumerate(self._optimized()):
            begin = f"optimizer.{i}."
            for name in [name for name in tensors if name.startswith(begin)]:
                value = tensors[name]
                # the memory layout of its parameter, so that sums are computed in the same order
                mine = torch.empty_like(parameter) if value.shape == parameter.shape else value.clone()
                _into(mine, value)
                self.optimizer.state[parameter][name.removeprefix(begin)] = mine
        torch.set_rng_state(tensors["random.cpu"])
        if torch.cuda.is_available() and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"])
        if self._scaler:
            scaler = {key: float(tensors[f"scaler.{key}"]) for key in self._scaler.state_dict()}
            whole = {"growth_interval", "_growth_tracker"}
            self._scaler.load_state_dict({k: int(v) if k in whole else v for k, v in scaler.items()})

    def _optimized(self) -> list[torch.nn.Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]


def _into(target: Tensor, value: Tensor) -> None:
    if target.shape != value.shape:
        raise ValueError(f"a tensor of {tuple(value.shape)} for one of {tuple(target.shape)}")
    target.copy_(value)
