"""How large a model is, and the names and shapes of its weights; known without torch."""

from __future__ import annotations

from dataclasses import dataclass, fields

from hoyomusic.errors import UsageError

# The arrays of each kind of normalisation, by the name of the kind.
NORM_PARTS = {"batch": ("weight", "bias", "running_mean", "running_var"), "layer": ("weight", "bias")}

# Values that the agreement beside a recalled guess may take; 0: the source guesses nothing.
AGREEMENTS = 16


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Sizes of a model; the bounds keep a hostile file from asking for all the memory.

    `vocabulary`, `regions` and `clocks` count ids, `recalls` the sources of guesses (0: the model takes none);
    `embedding` and `hidden` are widths; `dropout` is the
    share of layer outputs, `weight_dropout` that of recurrent weights (DropConnect; Merity et al. 2018,
    "Regularizing and Optimizing LSTM Language Models"), set to zero in a training step; `norm` is
    what stands between the layers, ``batch`` or ``layer`` normalisation.

    Raises UsageError for a value out of bounds.
    """

    vocabulary: int
    regions: int = 8
    clocks: int = 1
    embedding: int = 256
    hidden: int = 512
    layers: int = 3
    dropout: float = 0.3
    weight_dropout: float = 0.0
    recalls: int = 0
    norm: str = "batch"

    def __post_init__(self) -> None:
        for name, largest in (
            ("vocabulary", 100_000), ("regions", 1_000), ("clocks", 10_000),
            ("embedding", 4096), ("hidden", 4096), ("layers", 16),
        ):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= largest:
                raise UsageError(f"{name} is {value!r}", remedy=f"give a whole number from 1 to {largest}")
        if type(self.recalls) is not int or not 0 <= self.recalls <= 64:
            raise UsageError(f"recalls is {self.recalls!r}", remedy="give a whole number from 0 to 64")
        for name in ("dropout", "weight_dropout"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 <= value < 1:
                raise UsageError(f"{name} is {value!r}", remedy="give a share from 0 to less than 1")
        if self.norm not in NORM_PARTS:
            raise UsageError(f"there is no normalisation {str(self.norm)[:40]!r}", remedy="choose batch or layer")

    def to_dict(self) -> dict[str, int | float | str]:
        """The sizes as a plain dict, which ``ModelConfig(**sizes)`` reads back."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each weight and statistic by the name that `HoyoMusicLSTM.state_dict` gives it."""
        hidden = self.hidden
        found: dict[str, tuple[int, ...]] = {
            "embedding": (self.vocabulary, self.embedding),
            "region": (self.regions, self.embedding),
            "clock": (self.clocks, self.embedding),
            "output_weight": (self.vocabulary, hidden),
            "output_bias": (self.vocabulary,),
        }
        if self.recalls:
            found["recall_weight"] = (self.recalls * AGREEMENTS, hidden)
            found["recall_bias"] = (self.recalls * AGREEMENTS,)
        for layer in range(self.layers):
            name = f"layers.{layer}"
            found[f"{name}.weight_ih"] = (4 * hidden, hidden if layer else self.embedding)
            found[f"{name}.weight_hh"] = (4 * hidden, hidden)
            found[f"{name}.bias"] = (4 * hidden,)
            for part in NORM_PARTS[self.norm]:
                found[f"{name}.norm.{part}"] = (hidden,)
        return found
