"""Layers that make one tensor of several, and one mask of theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import torch

from hoyomusic.legacy.layers.base import Layer, Mask, Shape, as_float, keras_layer


class Merge(Layer):
    """Cell by cell. An input with fewer axes gets axes of length 1 after the batch; a length of 1 is repeated."""

    takes = None

    def build(self, *shapes: Shape) -> Shape:
        if len(shapes) < 2:
            raise self.settings.refuse("merges fewer than two tensors")
        rank = max(map(len, shapes))
        merged: list[int | None] = [1] * rank
        for shape in shapes:
            raised = (shape[0], *[1] * (rank - len(shape)), *shape[1:])
            for axis, size in enumerate(raised):
                if size != 1 and merged[axis] not in (1, None, size) and size is not None:
                    raise self.settings.refuse(f"merges tensors that do not fit: {', '.join(map(str, shapes))}")
                if merged[axis] == 1 or (merged[axis] is None and size not in (1, None)):
                    merged[axis] = size
        return (None, *merged[1:])

    def call(self, inputs: Sequence[torch.Tensor], masks: Sequence[Mask]) -> tuple[torch.Tensor, Mask]:
        rank = max(x.dim() for x in inputs)
        raised = [x.reshape(len(x), *[1] * (rank - x.dim()), *x.shape[1:]) for x in map(as_float, inputs)]
        return self.forward(*raised), self.merge_masks(inputs, masks)

    def merge_masks(self, inputs: Sequence[torch.Tensor], masks: Sequence[Mask]) -> Mask:
        """Keras 2: what all masks show. Keras 3: what any shows, and no mask where an input has none."""
        present = [mask for mask in masks if mask is not None]
        if self.settings.context.major > 2:
            return reduce(torch.logical_or, present) if len(present) == len(masks) else None
        return reduce(torch.logical_and, present) if present else None

    def trace_mask(self, masked: Sequence[bool]) -> bool:
        return all(masked) if self.settings.context.major > 2 else any(masked)


def merging(*names: str) -> Callable[[Callable[[Sequence[torch.Tensor]], torch.Tensor]], type[Merge]]:
    """Make a merging layer of a function of several tensors of one rank."""

    def register(function: Callable[[Sequence[torch.Tensor]], torch.Tensor]) -> type[Merge]:
        members = {"forward": lambda self, *inputs: function(inputs), "__doc__": function.__doc__}
        return keras_layer(*names)(type(names[0], (Merge,), members))

    return register


@merging("Add")
def add(inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    return reduce(torch.add, inputs)


@merging("Multiply")
def multiply(inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    return reduce(torch.mul, inputs)


@merging("Average")
def average(inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    return reduce(torch.add, inputs) / len(inputs)


@merging("Maximum")
def maximum(inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    return reduce(torch.maximum, inputs)


@merging("Minimum")
def minimum(inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    return reduce(torch.minimum, inputs)


@keras_layer("Subtract")
class Subtract(Merge):
    """The first less the second."""

    def build(self, *shapes: Shape) -> Shape:
        if len(shapes) != 2:
            raise self.settings.refuse(f"subtracts {len(shapes)} tensors, and needs two")
        return super().build(*shapes)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[0] - inputs[1]


@keras_layer("Concatenate")
class Concatenate(Merge):
    """One after another along `axis`."""

    def build(self, *shapes: Shape) -> Shape:
        if len({len(shape) for shape in shapes}) != 1:
            raise self.settings.refuse(f"joins tensors that do not fit: {', '.join(map(str, shapes))}")
        self.axis = self.settings.axis("axis", len(shapes[0]), -1)
        joined: list[int | None] = []
        for axis, sizes in enumerate(zip(*shapes, strict=True)):
            known = {size for size in sizes if size is not None}
            if axis == self.axis:
                joined.append(None if None in sizes else sum(size or 0 for size in sizes))
            elif len(known) > 1:
                raise self.settings.refuse(f"joins tensors that do not fit: {', '.join(map(str, shapes))}")
            else:
                joined.append(known.pop() if known else None)
        return tuple(joined)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return torch.cat(inputs, self.axis)

    def merge_masks(self, inputs: Sequence[torch.Tensor], masks: Sequence[Mask]) -> Mask:
        """The masks joined as the values are, an input without one all shown; then over the last axis as merged."""
        if all(mask is None for mask in masks):
            return None
        spread = [
            torch.ones_like(x, dtype=torch.bool) if mask is None else mask.unsqueeze(-1).expand(x.shape)
            for x, mask in zip(inputs, masks, strict=True)
        ]
        joined = torch.cat(spread, self.axis)
        return joined.any(-1) if self.settings.context.major > 2 else joined.all(-1)

    def trace_mask(self, masked: Sequence[bool]) -> bool:
        return any(masked)
