"""The sizes of each layer, however a configuration spells them."""

from __future__ import annotations

from typing import Any


class Layer:
    """One layer of a configuration, whose fields may be the same for all layers, a list, or its own."""

    def __init__(self, config: Any, index: int) -> None:
        # Such a configuration refuses to tell a field that differs between its layers (Gemma 4's head_dim).
        self._config = (
            config.per_layer_config[index] if getattr(config, "is_heterogeneous", False) else config
        )
        self._index = index

    def size(self, *names: str) -> int | None:
        """Return the first of these fields that is set, neither None nor 0."""
        for name in names:
            value = getattr(self._config, name, None)
            if isinstance(value, list | tuple):  # one per layer (Gemma 3n's intermediate_size)
                value = value[self._index]
            if value:
                return int(value)
        return None

    @property
    def heads(self) -> int:
        """Query heads; 0 for a layer without attention."""
        return self.size("num_attention_heads") or 0

    @property
    def head_size(self) -> int:
        """The size of a key, which is not always width / heads: some classes set it, or two of them."""
        return self.size("qk_head_dim", "head_dim") or self._config.hidden_size // max(self.heads, 1)

    @property
    def experts_per_token(self) -> int:
        """To how many experts of a mixture a token is sent; 1 without a mixture."""
        return self.size("num_experts_per_tok", "top_k_experts", "moe_topk", "moe_top_k", "moe_k") or 1

    @property
    def window(self) -> int | None:
        """How many positions a token sees, if its layer attends within a window; None for all."""
        kinds = getattr(self._config, "layer_types", None)
        if kinds and kinds[self._index] != "sliding_attention":
            return None
        return self.size("sliding_window")

    @property
    def attends(self) -> bool:
        """Whether each token is multiplied with all keys that it sees, as with linear attention it is not."""
        kinds = getattr(self._config, "layer_types", None)
        softmax_kinds = ("full_attention", "sliding_attention")
        return self.heads > 0 and (not kinds or kinds[self._index] in softmax_kinds)


def layers_of(config: Any) -> list[Layer]:
    """Return the layers of a configuration of text."""
    return [Layer(config, index) for index in range(config.num_hidden_layers)]
