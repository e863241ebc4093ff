"""Processes that train together: two real ones, started once for all tests that look at what they found."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from vocdet.errors import PeerError, VocdetError
from vocdet.training import distributed
from vocdet.training.distributed import Group, alone, join, place_in_world, share_of, synchronized

Found = tuple[dict[str, Any], dict[str, Any]]
SCRIPT = Path(__file__).with_name("two_processes.py")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What two processes found."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
    }
    ended = subprocess.run([sys.executable, str(SCRIPT), str(folder)], env=variables, capture_output=True, timeout=300)
    said = ended.stderr.decode()
    assert ended.returncode == 0, said
    assert "terminate called" not in said
    first, second = (pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(2))
    return first, second


def test_each_knows_its_place(found: Found) -> None:
    assert [each["group"] for each in found] == [Group(0, 2), Group(1, 2)]
    assert [each["group"].first for each in found] == [True, False]


def test_a_sum_is_over_both(found: Found) -> None:
    for each in found:
        assert each["one"].tolist() == [3.0, 3.0, 3.0]
        assert each["one"].dtype == torch.float64


def test_many_tensors_of_any_shape_and_type_are_summed_in_their_places(found: Found) -> None:
    for each in found:
        grid, scalar, whole, nothing, weight = each["many"]
        assert torch.equal(grid, 3 * torch.arange(5.0).expand(2, 3, 4, 5))
        assert each["strides"] == (60, 1, 15, 3)  # channels last still
        assert (scalar.item(), whole.tolist(), nothing.numel()) == (30.0, [3, 3], 0)
        assert weight.tolist() == [[3.0, 3.0], [3.0, 3.0]]


def test_sums_are_the_same_bit_for_bit_in_both(found: Found) -> None:
    assert torch.equal(found[0]["uneven"], found[1]["uneven"])


def test_the_first_decides(found: Found) -> None:
    for each in found:
        weights, number, flag = each["weights"]
        assert (weights.tolist(), number.item(), flag.item()) == ([[0.0, 0.0]] * 3, 0, True)
        assert each["clock"][0] == 0.1
        assert each["clock"][1] != each["clock"][1]  # NaN


def test_any_is_true_where_one_says_so(found: Found) -> None:
    assert [each["any"] for each in found] == [[False, True, True]] * 2


def test_what_all_have_is_gathered_in_order(found: Found) -> None:
    for each in found:
        assert each["gathered"] == [{"rank": 0}, {"rank": 1}]
        assert each["merged"] == [0, 1, 4, 9, 16]
        assert each["merged with nothing"] == ["a"]


def test_a_group_that_is_there_is_used(found: Found) -> None:
    assert [each["inside"] for each in found] == [Group(0, 2), Group(1, 2)]


@pytest.mark.parametrize("kind", ["sgd", "adamw", "muon", "two batches a step"])
def test_half_of_every_batch_in_each_of_two_is_as_the_whole_in_one(found: Found, kind: str) -> None:
    """With frozen batch norms, over two epochs whose last batches leave one process without an image.

    Sums are made in another order, so losses agree to 1 in a million and weights to 2 millionths of an AdamW step of
    .01, where they moved by thousandths. Muon enlarges the directions in which a gradient is nearly zero, and their
    rounding with them.
    """
    first, second = found
    together, whole = first[kind], first[f"{kind}, alone"]
    assert together["images"] == whole["images"] == 18
    assert len(together["losses"]) == (4 if kind == "two batches a step" else 6)
    for mine, theirs in zip(together["losses"], whole["losses"], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-6)
    for kept in ("weights", "average"):
        for key, value in whole[kept].items():
            torch.testing.assert_close(together[kept][key], value, rtol=0, atol=2e-5 if kind == "muon" else 2e-6)
    assert largest_change(first["before"], together["weights"]) > 1e-3
    assert second[kind]["losses"] == together["losses"]
    assert same(second[kind]["weights"], together["weights"])


def test_with_free_batch_norms_both_have_the_same_weights_and_statistics(found: Found) -> None:
    first, second = (each["free norms"] for each in found)
    assert first["losses"] == second["losses"]
    assert same(first["weights"], second["weights"])
    statistics = {key: value for key, value in first["weights"].items() if "running" in key}
    assert largest_change(found[0]["before"], statistics) > 1e-2


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(value, b[key]) for key, value in a.items())


def largest_change(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> float:
    return max((value - before[key]).abs().max().item() for key, value in after.items())


def test_a_process_that_fails_ends_the_others_with_a_message(found: Found) -> None:
    first, second = found
    assert second["failed"] == "'the second fails'"
    assert first["problem"] == "another process of this training ended (its message is above)"


def test_the_group_is_left_in_the_end(found: Found) -> None:
    assert [each["open"] for each in found] == [False, False]


def test_a_single_process_changes_nothing() -> None:
    group = alone()
    tensor = torch.tensor([1.0, 2.0])
    group.sum_(tensor)
    group.sum_flat([tensor])
    group.broadcast_([tensor])
    assert tensor.tolist() == [1.0, 2.0]
    assert group.from_first([0.5]) == [0.5]
    assert (group.any(True), group.any(False)) == (True, False)
    assert group.gather("x") == ["x"]
    assert group.merge([1, 2]) == [1, 2]
    assert group.first


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    yield monkeypatch
    assert not dist.is_initialized()


def test_without_torchrun_a_process_is_alone(environment: pytest.MonkeyPatch) -> None:
    with join("cpu") as group:
        assert group == alone()
    environment.setenv("WORLD_SIZE", "1")
    assert place_in_world() == (0, 1)


@pytest.mark.parametrize("rank", ["2", "-1", "", "one"])
def test_an_invalid_rank_is_a_clear_error(environment: pytest.MonkeyPatch, rank: str) -> None:
    environment.setenv("WORLD_SIZE", "2")
    environment.setenv("RANK", rank)
    with pytest.raises(VocdetError, match=rf"^the environment says RANK={rank}, WORLD_SIZE=2 \(unset both"), join():
        pass


def test_an_environment_that_says_half_is_an_error(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("WORLD_SIZE", "2")
    environment.setenv("RANK", "1")
    with pytest.raises(VocdetError, match=r"^process 2 of 2 did not find the others: .*MASTER_ADDR"), join():
        pass


@pytest.mark.parametrize("device", ["cuda:4095", "tpu"])
def test_a_device_that_is_not_there_is_an_error(environment: pytest.MonkeyPatch, device: str) -> None:
    environment.setenv("WORLD_SIZE", "2")
    environment.setenv("RANK", "1")
    with pytest.raises(VocdetError, match=rf"^there is no device '{device}'"), join(device):
        pass


def test_a_program_error_among_the_processes_stays_one() -> None:
    with pytest.raises(RuntimeError, match="invalid"), distributed._together():
        raise RuntimeError("invalid tensor type")


def test_a_process_that_does_not_answer_is_named_so() -> None:
    with pytest.raises(PeerError, match="has not answered for 30 minutes"), distributed._together():
        raise RuntimeError("[gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 1800000ms for recv operation")


@pytest.mark.parametrize(("n", "world"), [(10, 3), (3, 3), (2, 4), (0, 2), (7, 1)])
def test_parts_are_nearly_equal_and_together_all(n: int, world: int) -> None:
    parts = [list(range(n))[share_of(n, rank, world)] for rank in range(world)]
    assert [row for each in parts for row in each] == list(range(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_batch_norms_over_several_processes_need_cuda() -> None:
    with pytest.raises(VocdetError, match="need CUDA devices"):
        synchronized(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))


def test_synchronised_batch_norms_keep_the_names_of_their_weights() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    before = list(model.state_dict())

    class OnCuda(nn.Sequential):
        def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
            return iter(())

    made = synchronized(OnCuda(*model))
    assert list(made.state_dict()) == before
    assert isinstance(made[1], nn.SyncBatchNorm)  # type: ignore[index]
