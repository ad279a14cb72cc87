"""ArmoRM (Wang et al. 2024, arXiv:2406.12845): 19 rewards, weighted according to the prompt.

    reward = sum over objectives i of  g_i(h_prompt) * (A^T W h_last)_i

W is the regression layer, A removes each objective's correlation with length, and g is the gating network,
which ends in a softmax. h_last is the state of the conversation's last token, h_prompt that of the token that
opens the header of its last assistant turn. The checkpoint's own code computes the same, but cannot be used,
because it imports names that transformers 5 no longer has.

Shapes: B conversations, L tokens, H hidden units, O objectives.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel, LlamaPreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from pairkit.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# The text between the prompt's last turn and the completion in Llama 3's template.
HEADER = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"


class Gating(nn.Module):
    """An MLP and a softmax: from states of prompts `[B, H]` to weights of the objectives `[B, O]`."""

    def __init__(self, config: LlamaConfig, objectives: int) -> None:
        super().__init__()
        width = getattr(config, "gating_hidden_dim", 1024)
        sizes = [config.hidden_size] + [width] * getattr(config, "gating_n_hidden", 3) + [objectives]
        self.layers = nn.ModuleList(nn.Linear(inner, outer) for inner, outer in pairwise(sizes))
        self.logit_scale = nn.Parameter(torch.ones(1))
        self.temperature = getattr(config, "gating_temperature", 10)

    def forward(self, states: Tensor) -> Tensor:
        *hidden, last = self.layers
        for layer in hidden:
            states = torch.relu(layer(states))
        return torch.softmax(last(states) / self.temperature, dim=-1) * self.logit_scale


class ArmoRM(LlamaPreTrainedModel):  # type: ignore[misc]
    """The model, with the checkpoint's weight names; the layers after the Llama stay in float32."""

    _keep_in_fp32_modules_strict = ("regression_layer", "reward_transform_matrix", "gating")

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        objectives = getattr(config, "num_objectives", 19)
        self.model = LlamaModel(config)
        self.regression_layer = nn.Linear(config.hidden_size, objectives, bias=False)
        self.reward_transform_matrix = nn.Parameter(torch.zeros(objectives, objectives), requires_grad=False)
        self.gating = Gating(config, objectives)
        self.header: tuple[int, ...] = ()
        self.post_init()

    def use(self, tokenizer: PreTrainedTokenizerBase) -> ArmoRM:
        """Take the token ids of `HEADER` from the tokenizer."""
        self.header = tuple(tokenizer(HEADER, add_special_tokens=False)["input_ids"])
        return self

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SequenceClassifierOutput:
        """Compute the rewards `[B, 1]` of conversations `[B, L]`, padded on the right.

        Raises `ModelError` if a conversation has no assistant header.
        """
        states = self.model(input_ids, attention_mask=attention_mask).last_hidden_state
        rows = torch.arange(len(states), device=states.device)
        # [B, H] each, in float32 from here on, as the layers that follow.
        last = states[rows, attention_mask.sum(dim=-1) - 1].float()
        prompt = states[rows, self._headers(input_ids)].float()
        rewards = self.regression_layer(last) @ self.reward_transform_matrix
        return SequenceClassifierOutput(logits=(self.gating(prompt) * rewards).sum(dim=-1, keepdim=True))

    def _headers(self, ids: Tensor) -> Tensor:
        """Find the position `[B]` at which the last header of each row begins."""
        width = len(self.header)
        if ids.shape[-1] < width:
            raise _no_header()
        windows = ids.unfold(-1, width, 1) == torch.tensor(self.header, device=ids.device)
        # [B, L - width + 1]: whether a header begins there.
        matches = windows.all(dim=-1)
        if not matches.any(dim=-1).all():
            raise _no_header()
        # The last one, because earlier assistant turns of the prompt have a header too.
        places = torch.arange(matches.shape[-1], device=ids.device)
        return torch.where(matches, places, -1).amax(dim=-1)


def _no_header() -> ModelError:
    return ModelError(
        f"a conversation does not contain the header {HEADER!r}, from which ArmoRM weighs its rewards: the "
        "tokenizer's chat template is not Llama 3's; use the template of the published checkpoint"
    )
