"""Layers around a layer: Bidirectional and TimeDistributed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from hoyomusic.legacy.layers.base import Layer, Mask, Shape, Weight, keras_layer, make_layer
from hoyomusic.legacy.layers.recurrent import Recurrent


@keras_layer("Bidirectional")
class Bidirectional(Layer):
    """A recurrent layer and its twin that reads from the end; their outputs are merged as the file says."""

    def build(self, *shapes: Shape) -> Any:
        settings = self.settings
        entry = settings.get("layer")
        self.mode = settings.get("merge_mode", "concat")
        if self.mode not in ("concat", "sum", "ave", "mul", None):
            raise settings.refuse(f"has the merge_mode {self.mode!r}, which is not supported")
        forced = {}
        config = entry.get("config") if isinstance(entry, dict) else None
        if settings.context.is_tensorflow_keras and isinstance(config, dict):
            # TensorFlow's Keras, and Keras 3, give zeros at masked steps here, whatever the layer itself says.
            forced["zero_output_for_mask"] = config.get("return_sequences", False)
        self.ahead = self._make(entry, "forward_", shapes[0], **forced)
        if settings.get("backward_layer", None) is None:
            self.back = self._make(entry, "backward_", shapes[0], go_backwards=not self.ahead.backwards, **forced)
        else:
            self.back = self._make(settings.get("backward_layer"), "backward_", shapes[0], **forced)
        if self.back.sequences != self.ahead.sequences or self.back.backwards == self.ahead.backwards:
            raise settings.refuse("has two layers that do not belong together")
        self.sequences = self.ahead.sequences
        shape = self.ahead.output_shape
        if self.mode is None:
            return [shape, self.back.output_shape]
        if self.mode == "concat":
            return (*shape[:-1], shape[-1] + self.back.output_shape[-1])
        if shape != self.back.output_shape:
            raise settings.refuse("merges outputs of different widths")
        return shape

    def _make(self, entry: Any, prefix: str, shape: Shape, **changes: Any) -> Recurrent:
        config = entry.get("config") if isinstance(entry, dict) else None
        name = str(config.get("name", "")) if isinstance(config, dict) else ""
        made = make_layer(entry, self.settings.context, shape, name=prefix + name.removeprefix(prefix), **changes)
        if not isinstance(made, Recurrent):
            raise self.settings.refuse(f"wraps a {made.settings.kind}, which is no recurrent layer")
        return made

    def call(self, inputs: Sequence[torch.Tensor], masks: Sequence[Mask]) -> tuple[Any, Any]:
        ahead, _ = self.ahead.call(inputs, masks)
        back, _ = self.back.call(inputs, masks)
        mask = masks[0] if self.sequences else None
        if self.sequences:
            back = back.flip(1)
        if self.mode is None:
            return (ahead, back), (mask, mask)
        if self.mode == "concat":
            return torch.cat((ahead, back), -1), mask
        if self.mode == "mul":
            return ahead * back, mask
        total = ahead + back
        return total if self.mode == "sum" else total / 2, mask

    def trace_mask(self, masked: Sequence[bool]) -> Any:
        kept = self.sequences and masked[0]
        return (kept, kept) if self.mode is None else kept

    def weights(self, owners: tuple[str, ...] = (), path: tuple[str, ...] = ()) -> Iterator[Weight]:
        yield from self.ahead.weights(owners, (*path, "forward_*"))
        yield from self.back.weights(owners, (*path, "backward_*"))

    def numbered(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[Weight]]]:
        yield from self.ahead.numbered((*path, "forward_layer"))
        yield from self.back.numbered((*path, "backward_layer"))


@keras_layer("TimeDistributed")
class TimeDistributed(Layer):
    """The same layer at each step of time: batch and time are one axis while it computes."""

    def build(self, *shapes: Shape) -> Shape:
        shape = shapes[0]
        if len(shape) < 3:
            raise self.settings.refuse(f"gets an input with {len(shape)} axes, and needs time and features")
        self.layer = make_layer(self.settings.get("layer"), self.settings.context, (None, *shape[2:]))
        if isinstance(self.layer.output_shape, list):
            raise self.settings.refuse("wraps a layer with several outputs, which is not supported")
        return (shape[0], shape[1], *self.layer.output_shape[1:])

    def call(self, inputs: Sequence[torch.Tensor], masks: Sequence[Mask]) -> tuple[torch.Tensor, Mask]:
        x = inputs[0]
        result, _ = self.layer.call([x.reshape(-1, *x.shape[2:])], [None])
        return result.reshape(*x.shape[:2], *result.shape[1:]), masks[0]

    def trace_mask(self, masked: Sequence[bool]) -> bool:
        if self.layer.trace_mask([False]) or masked[0] and not self.layer.keeps_mask:
            raise self.settings.refuse(f"wraps a {self.layer.settings.kind} under a mask, which is not supported")
        return masked[0]

    def weights(self, owners: tuple[str, ...] = (), path: tuple[str, ...] = ()) -> Iterator[Weight]:
        yield from self.layer.weights(owners, path)

    def numbered(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[Weight]]]:
        yield from self.layer.numbered((*path, "layer"))
