"""The network: embeddings, LSTM layers with batch normalisation between them, one logit an id.

Letters of shapes: B rows, T positions, V ids, E embedding width, H hidden width, L layers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hoyomusic.errors import TrainingError
from hoyomusic.normalisation import NORMS
from hoyomusic.ranks import ALONE, Ranks
from hoyomusic.recurrence import unroll
from hoyomusic.sizes import AGREEMENTS, ModelConfig

if TYPE_CHECKING:
    State = tuple[Tensor, Tensor]

# A reset adds this to the input, forget and output gates. Their sigmoid is then exactly 0 in float32 and
# bfloat16 for whatever the weights add (below 896 in size), so cell and output are exactly 0 as well.
CLOSED_GATE = -1000.0
# The reset flag takes one input column; cuDNN's fast kernels want the width to be a multiple of 8.
FLAG_COLUMNS = 8


class Layer(nn.Module):
    """One LSTM over time (gates in the order i, f, g, o) and the normalisation of its outputs.

    A reset is an extra input that closes the gates. Its weights are fixed: they join the trained ones
    only for the call, so no file holds them and neither gradient nor weight decay moves them.
    """

    def __init__(self, inputs: int, hidden: int, norm: str) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden, inputs))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden, hidden))
        self.bias = nn.Parameter(torch.empty(4 * hidden))
        self.norm = NORMS[norm](hidden)
        closing = torch.zeros(4, hidden, FLAG_COLUMNS)
        closing[[0, 1, 3], :, 0] = CLOSED_GATE
        self.register_buffer("closing", closing.reshape(4 * hidden, FLAG_COLUMNS), persistent=False)

    def forward(self, inputs: Tensor, state: State, flags: Tensor | None, kept: Tensor | None) -> tuple[Tensor, State]:
        """Inputs (T, B, I), state two of (1, B, H), flags (T, B, FLAG_COLUMNS) or None -> (T, B, H) and the new state.

        `kept` (4H, H), where given, scales the recurrent weights. Computed in the type that autocast asks
        for, all of it: left to itself, autocast turns cuDNN's LSTM into float16, whatever it was told.
        Training in bfloat16 on a processor has a way of its own: see `recurrence`.
        """
        kind = inputs.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
        weight_hh = self.weight_hh if kept is None else self.weight_hh * kept
        if kind == "cpu" and dtype == torch.bfloat16 and torch.is_grad_enabled():
            with torch.autocast(kind, enabled=False):
                outputs, hidden, cell = unroll(
                    inputs, state[0][0], state[1][0], (self.weight_ih, weight_hh, self.bias),
                    None if flags is None else flags[:, :, 0].bool(), dtype,
                )
            return outputs, (hidden[None], cell[None])
        weight_ih = self.weight_ih
        if flags is not None:
            inputs = torch.cat((inputs, flags.to(inputs.dtype)), dim=2)
            weight_ih = torch.cat((weight_ih, self.closing), dim=1)
        weights = [weight_ih, weight_hh, self.bias, torch.zeros_like(self.bias)]
        with torch.autocast(kind, enabled=False):
            weights = _side_by_side(weights, dtype) if kind == "cuda" else [weight.to(dtype) for weight in weights]
            outputs, hidden, cell = torch.lstm(
                inputs.to(dtype), [part.to(dtype) for part in state], weights,
                has_biases=True, num_layers=1, dropout=0.0, train=self.training, bidirectional=False, batch_first=False,
            )
        return outputs.float(), (hidden.float(), cell.float())


def _side_by_side(weights: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The same weights as views of one block, as cuDNN wants them (else it warns and copies at each call)."""
    block = torch.cat([weight.reshape(-1).to(dtype) for weight in weights])
    parts = block.split([weight.numel() for weight in weights])
    return [part.view(weight.shape) for part, weight in zip(parts, weights, strict=True)]


class HoyoMusicLSTM(nn.Module):
    """Embedding(id) + Embedding(region) + Embedding(clock) -> L x [LSTM -> BatchNorm -> Dropout] -> Linear.

    Region 0 is the general label: what a sample whose region was dropped is trained with. Weights are
    drawn from `seed`; the process's own random state is neither read nor moved.

    A model with `recalls` also hears guesses at the next id, from what the tune itself has brought before,
    each with an agreement (see `recall`). A guess of source s with agreement a > 0 adds
    ``recall_bias[s, a] + recall_weight[s, a] . x`` to the logit of the guessed id, x the normalised output
    of the last layer: the model says when to repeat and when to go on. Both begin at zero, so that a model
    that has learned without them can be given them and is at first the same model.
    """

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.ranks = ALONE
        self.embedding = nn.Parameter(torch.empty(config.vocabulary, config.embedding))
        self.region = nn.Parameter(torch.empty(config.regions, config.embedding))
        self.clock = nn.Parameter(torch.empty(config.clocks, config.embedding))
        widths = [config.embedding] + [config.hidden] * config.layers
        self.layers = nn.ModuleList(Layer(width, config.hidden, config.norm) for width in widths[:-1])
        self.output_weight = nn.Parameter(torch.empty(config.vocabulary, config.hidden))
        self.output_bias = nn.Parameter(torch.empty(config.vocabulary))
        if config.recalls:
            self.recall_weight = nn.Parameter(torch.zeros(config.recalls * AGREEMENTS, config.hidden))
            self.recall_bias = nn.Parameter(torch.zeros(config.recalls * AGREEMENTS))
        self._draw_weights(seed)

    @torch.no_grad()
    def _draw_weights(self, seed: int) -> None:
        """Normal embeddings, the rest uniform within 1/sqrt(H); forget gates start open (Jozefowicz et al. 2015)."""
        generator = torch.Generator().manual_seed(_hash(seed))
        bound = self.config.hidden**-0.5
        self.embedding.normal_(generator=generator)
        # Region and clock begin as hints: rare places of the clock must not outshout the ids.
        for table in (self.region, self.clock):
            table.normal_(std=0.1, generator=generator)
        for layer in self.layers:
            for weight in (layer.weight_ih, layer.weight_hh, layer.bias):
                weight.uniform_(-bound, bound, generator=generator)
            layer.bias[self.config.hidden : 2 * self.config.hidden] += 1.0
        for weight in (self.output_weight, self.output_bias):
            weight.uniform_(-bound, bound, generator=generator)

    def forward(
        self,
        ids: Tensor,
        region: Tensor,
        clock: Tensor,
        state: State | None = None,
        *,
        recall: Tensor | None = None,
        valid: Tensor | None = None,
        reset: Tensor | None = None,
        key: tuple[int, ...] | None = None,
    ) -> tuple[Tensor, State]:
        """Logits (B, T, V) for the id after each position, and the state (h, c), each (L, B, H).

        `ids` (B, T), `region` (B,) or (B, T) and `clock` (B, T) are whole numbers; `recall` (B, T, S, 2)
        guesses and agreements, for a model that takes them; `state` None is a fresh start. After a position
        marked in `reset` (B, T) bool the state is exactly that of a fresh start.
        `valid` (B, T) bool marks the positions whose statistics count in training (never those of `reset`);
        logits elsewhere mean nothing. Padding may follow the valid positions of a row, not precede them.
        `key`, whole numbers such as (seed, epoch, step), decides what dropout drops, and nothing else does;
        raises TrainingError where training needs it and it is missing.

        The logits are a view of time-major memory: ``logits.transpose(0, 1).reshape(-1, V)`` copies nothing.
        """
        rows, steps = ids.shape
        if region.dim() == 1:
            region = region[:, None].expand(rows, steps)
        values = (
            functional.embedding(ids.T, self.embedding)
            + functional.embedding(region.T, self.region)
            + functional.embedding(clock.T, self.clock)
        )  # (T, B, E)
        if state is None:
            state = self.fresh_state(rows)
        flags = None
        if reset is not None:
            flags = functional.pad(reset.T[:, :, None].to(values.dtype), (0, FLAG_COLUMNS - 1))  # (T, B, FLAG_COLUMNS)
            valid = ~reset if valid is None else valid & ~reset
        counted = None
        if self.training and valid is not None:
            counted = valid.T.reshape(-1).nonzero().squeeze(1)
        generator = self._dropout_generator(key)
        states = []
        for index, layer in enumerate(self.layers):
            kept = None
            if self.training and self.config.weight_dropout:
                kept = _draw_kept(layer.weight_hh, self.config.weight_dropout, generator)
            values, new = layer(values, (state[0][index : index + 1], state[1][index : index + 1]), flags, kept)
            states.append(new)
            values = layer.norm(values.reshape(steps * rows, -1), counted).view(steps, rows, -1)  # (T, B, H)
            if self.training and self.config.dropout:
                values = values * _draw_kept(values, self.config.dropout, generator, self.ranks)
        logits = functional.linear(values, self.output_weight, self.output_bias)  # (T, B, V)
        if self.config.recalls:
            logits = self._recalled(logits, values, recall)
        hidden, cell = zip(*states, strict=True)
        return logits.transpose(0, 1), (torch.cat(hidden), torch.cat(cell))

    def _recalled(self, logits: Tensor, values: Tensor, recall: Tensor) -> Tensor:
        """Logits (T, B, V) with what the guesses `recall` (B, T, S, 2) bring, judged by `values` (T, B, H)."""
        guesses, agreements = recall.transpose(0, 1).unbind(3)  # (T, B, S)
        trust = functional.linear(values, self.recall_weight, self.recall_bias)
        trust = trust.unflatten(2, (self.config.recalls, AGREEMENTS)).gather(3, agreements[..., None]).squeeze(3)
        return logits.scatter_add(2, guesses, trust.masked_fill(agreements == 0, 0.0).to(logits.dtype))

    def fresh_state(self, rows: int) -> State:
        """The state (h, c) before a tune: zeros, each (L, rows, H)."""
        zeros = self.output_bias.new_zeros(self.config.layers, rows, self.config.hidden)
        return zeros, zeros

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights and statistics by name as float32 arrays, which `runtime.fold` takes."""
        return {name: weight.detach().cpu().numpy() for name, weight in self.state_dict().items()}

    def _dropout_generator(self, key: tuple[int, ...] | None) -> torch.Generator | None:
        if not self.training or not (self.config.dropout or self.config.weight_dropout):
            return None
        if key is None:
            raise TrainingError("dropout has no key", remedy="pass key=(seed, epoch, step)")
        return torch.Generator(self.output_bias.device).manual_seed(_hash(*key))


def _draw_kept(
    like: Tensor, share: float, generator: torch.Generator | None, ranks: Ranks = ALONE
) -> Tensor:
    """A mask like `like`: 0 for a `share` of the places (to 1/256), elsewhere what keeps the mean (inverted dropout).

    Where `like` (T, B, H) is our part of the rows of several processes, the mask is our part of theirs: each
    draws for all, so that how many they are changes nothing. Each byte of a random word decides a place: a
    sixth of the time of `bernoulli_`, which draws a word for each.
    """
    first, rows, *rest = like.shape
    shape = (first, rows * ranks.count, *rest)
    places = math.prod(shape)
    words = torch.empty(-(-places // 8), dtype=torch.int64, device=like.device)
    drawn = words.random_(-(2**63), None, generator=generator).view(torch.uint8)[:places].view(shape)
    dropped = min(round(256 * share), 255)
    kept = torch.empty(like.shape, dtype=like.dtype, device=like.device)
    # Compared into floats: into booleans it takes seven times as long.
    return torch.ge(drawn[:, ranks.rows(shape[1])], dropped, out=kept).mul_(256 / (256 - dropped))


def _hash(*key: int) -> int:
    """A seed of 64 bits from whole numbers >= 0."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
