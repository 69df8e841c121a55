"""A GPT-2-style network, its optimiser and its generation with a cache of keys and values, in eager PyTorch.

Written from Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", Vaswani et al. 2017,
"Attention Is All You Need", and Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture": learned
positions, layer normalisation before each part and once at the end, GELU, output weights tied to the embedding,
normal(0.02) weights with the ends of the residual branches scaled by 1/sqrt(2 L). No code of others is used.

Letters of shapes: B rows, T positions, V ids, W width, H heads, L layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

DEVIATION = 0.02


@dataclass(frozen=True, slots=True)
class TransformerConfig:
    """Sizes; `context` is the longest sequence, `feed_forward` the width between the two products of a block."""

    vocabulary: int
    context: int = 1024
    width: int = 288
    layers: int = 6
    heads: int = 6
    feed_forward: int = 1152
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} cannot be shared by {self.heads} heads")

    @staticmethod
    def fitted(vocabulary: int, parameters: int, *, context: int = 1024, layers: int = 6, heads: int = 6,
               dropout: float = 0.0) -> TransformerConfig:
        """The widest network of at most so many parameters whose heads are a multiple of 8 wide, then filled up.

        Filled up by its feed-forward parts, in steps of 16. Raises ValueError where the narrowest is too large.
        """
        def count(width: int, feed_forward: int) -> int:
            block = 4 * width * (width + 1) + feed_forward * (2 * width + 1) + width + 4 * width
            return (vocabulary + context) * width + layers * block + 2 * width

        width = step = 8 * heads
        if count(width, 4 * width) > parameters:
            raise ValueError(f"{parameters:,} parameters are too few for {layers} layers of {heads} heads")
        while count(width + step, 4 * (width + step)) <= parameters:
            width += step
        left = parameters - count(width, 4 * width)
        more = round(left / (16 * layers * (2 * width + 1)))
        return TransformerConfig(vocabulary, context, width, layers, heads, 4 * width + 16 * more, dropout)


class Block(nn.Module):
    """Attention to what came before, then two products with GELU between; each added to what it was given."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.attention_norm = nn.LayerNorm(config.width)
        self.query_key_value = nn.Linear(config.width, 3 * config.width)
        self.attention_out = nn.Linear(config.width, config.width)
        self.feed_norm = nn.LayerNorm(config.width)
        self.feed_in = nn.Linear(config.width, config.feed_forward)
        self.feed_out = nn.Linear(config.feed_forward, config.width)

    def forward(self, values: Tensor) -> Tensor:
        """(B, T, W) -> (B, T, W); no position hears a later one."""
        query, key, value = self._split(values)
        dropout = self.dropout if self.training else 0.0
        heard = functional.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=dropout)
        return self._go_on(values, heard)

    def step(self, values: Tensor, keys: Tensor, remembered: Tensor, position: int) -> Tensor:
        """One position (B, 1, W); writes its key and value into the caches (B, H, context, W / H)."""
        query, key, value = self._split(values)
        keys[:, :, position] = key[:, :, 0]
        remembered[:, :, position] = value[:, :, 0]
        heard = functional.scaled_dot_product_attention(
            query, keys[:, :, : position + 1], remembered[:, :, : position + 1]
        )
        return self._go_on(values, heard)

    def _split(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, each (B, H, T, W / H)."""
        rows, steps, width = values.shape
        parts = self.query_key_value(self.attention_norm(values)).view(rows, steps, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        return query, key, value

    def _go_on(self, values: Tensor, heard: Tensor) -> Tensor:
        values = values + self._drop(self.attention_out(heard.transpose(1, 2).flatten(2)))
        inner = functional.gelu(self.feed_in(self.feed_norm(values)), approximate="tanh")
        return values + self._drop(self.feed_out(inner))

    def _drop(self, values: Tensor) -> Tensor:
        return functional.dropout(values, self.dropout, self.training)


class Transformer(nn.Module):
    """Ids to logits of the next id; `Cache` and `step` do the same one position at a time."""

    def __init__(self, config: TransformerConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.empty(config.vocabulary, config.width))
        self.positions = nn.Parameter(torch.empty(config.context, config.width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self._draw_weights(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _draw_weights(self, generator: torch.Generator) -> None:
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                ends_branch = name.endswith(("attention_out.weight", "feed_out.weight"))
                scale = 1 / math.sqrt(2 * self.config.layers) if ends_branch else 1.0
                weight.normal_(std=DEVIATION * scale, generator=generator)
            elif name.endswith("bias"):
                weight.zero_()

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) with T at most `context` -> logits (B, T, V)."""
        values = functional.embedding(ids, self.embedding) + self.positions[: ids.shape[1]]
        values = functional.dropout(values, self.config.dropout, self.training)
        for block in self.blocks:
            values = block(values)
        return functional.linear(self.norm(values), self.embedding)

    def fresh_cache(self, rows: int) -> Cache:
        """Room for `context` positions of so many rows, none of them heard."""
        return Cache(self, rows)

    def step(self, ids: Tensor, cache: Cache) -> Tensor:
        """The next ids (B,) -> logits (B, V); `cache` remembers them."""
        values = functional.embedding(ids, self.embedding)[:, None] + self.positions[cache.position]
        for block, keys, values_heard in zip(self.blocks, cache.keys, cache.values, strict=True):
            values = block.step(values, keys, values_heard, cache.position)
        cache.position += 1
        return functional.linear(self.norm(values[:, 0]), self.embedding)


class Cache:
    """Keys and values of all positions heard so far, one pair of tensors (B, H, context, W / H) a layer."""

    def __init__(self, model: Transformer, rows: int) -> None:
        config = model.config
        shape = (rows, config.heads, config.context, config.width // config.heads)
        self.keys = [torch.zeros(shape) for _ in range(config.layers)]
        self.values = [torch.zeros(shape) for _ in range(config.layers)]
        self.position = 0


@torch.inference_mode()
def generate(model: Transformer, start: int, length: int, *, seed: int, temperature: float = 1.0) -> list[int]:
    """`length` ids behind `start`, sampled one by one with a cache; at most `context`."""
    generator = torch.Generator().manual_seed(seed)
    cache, chosen, found = model.fresh_cache(1), torch.tensor([start]), []
    for _ in range(length):
        shares = (model.step(chosen, cache) / temperature).softmax(1)
        chosen = torch.multinomial(shares, 1, generator=generator)[0]
        found.append(int(chosen))
    return found


def make_optimizer(model: Transformer, learning_rate: float) -> torch.optim.AdamW:
    """AdamW as GPTs are trained with: betas (0.9, 0.95), decay 0.1, not of vectors (Brown et al. 2020, app. B)."""
    weights = list(model.parameters())
    return torch.optim.AdamW(
        [
            {"params": [weight for weight in weights if weight.dim() > 1], "weight_decay": 0.1},
            {"params": [weight for weight in weights if weight.dim() == 1], "weight_decay": 0.0},
        ],
        lr=learning_rate, betas=(0.9, 0.95), fused=True,
    )


def schedule(progress: float, *, warm_up: float = 0.02, least: float = 0.1) -> float:
    """The share of the learning rate at `progress` from 0 to 1: up in a line, then down along a cosine to `least`."""
    if progress < warm_up:
        return max(progress / warm_up, 1e-3)
    along = min((progress - warm_up) / (1 - warm_up), 1.0)
    return least + (1 - least) * 0.5 * (1 + math.cos(math.pi * along))
