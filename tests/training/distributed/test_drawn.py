"""Draws within the gradient pass of a model that is held in parts, with its gradient through cached keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from support.architectures import select_all, sets, tiny

from pairkit.training.distributed.processes import Processes
from pairkit.training.distributed.sharding import gather_tensors, shard
from pairkit.training.logprobs.attention import using_packed_attention
from pairkit.training.logprobs.draw_in_pass import score_drawn


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[Processes]:
    """A process group of this process alone, which shards and gathers like any other."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    yield Processes(sharded=True)
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module:UserWarning")
def test_a_sharded_model_draws_on_the_keys_of_every_layer(one_process: Processes) -> None:
    work = select_all(sets(((3, 5, 1), (6, 4))))

    def pass_of(model: torch.nn.Module) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        with using_packed_attention(model):
            _, scored = score_drawn(model, work, lambda _: work, 64, lead=True)
            scored.policy.sum.sum().backward()  # type: ignore[no-untyped-call]
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        return scored.policy.sum.detach(), gather_tensors(gradients, keep=True)

    expected, right = pass_of(tiny())
    found, gradients = pass_of(shard(tiny(), one_process, bf16=False))
    torch.testing.assert_close(found, expected)
    assert gradients.keys() == right.keys()
    for name, value in right.items():
        torch.testing.assert_close(gradients[name], value, rtol=1e-4, atol=1e-5 * float(value.abs().max()))
