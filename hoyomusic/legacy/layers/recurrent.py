"""Recurrent layers: one loop over time for all, exact with masks wherever they lie.

At a masked step the state is kept and the last output repeated, or zeros given where the layer says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from hoyomusic.legacy.layers.activations import find_activation
from hoyomusic.legacy.layers.base import Layer, Mask, Shape, Weight, as_float, keras_layer

State = tuple[torch.Tensor, ...]


class Recurrent(Layer):
    """x (batch, time, features) -> (batch, time, units), or (batch, units) at the last step.

    `kernel` is (features, gates * units), `recurrent_kernel` (units, gates * units).
    """

    gates = 1
    states = 1
    plain = True

    def build(self, *shapes: Shape) -> Shape:
        settings = self.settings
        settings.refuse_if("return_state", "time_major", "num_constants")
        if len(shapes[0]) != 3:
            raise settings.refuse(f"gets an input with {len(shapes[0])} axes, not batch, time and features")
        self.units = units = settings.whole("units")
        self.sequences = settings.flag("return_sequences")
        self.backwards = settings.flag("go_backwards", False)
        self.zero_when_masked = settings.flag("zero_output_for_mask", False)
        self.add_weight("kernel", (shapes[0][-1], self.gates * units))
        self.add_weight("recurrent_kernel", (units, self.gates * units))
        self.biased = not self.plain or settings.flag("use_bias")
        if self.biased:
            self.add_weight("bias", self.bias_shape())
        if self.plain:
            self.activation = find_activation(settings)
            if self.gates > 1:
                self.gate = find_activation(settings, "recurrent_activation")
        else:
            self.activation, self.gate = torch.tanh, torch.sigmoid
        return (*shapes[0][:-1], units) if self.sequences else (shapes[0][0], units)

    def bias_shape(self) -> tuple[int, ...]:
        return (self.gates * self.units,)

    def prepare(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Kernel, recurrent kernel, the bias of the inputs (gates * units) and that of the state."""
        return self.kernel, self.recurrent_kernel, self.bias if self.biased else None, None

    def step(self, x: torch.Tensor, state: State, kernel: torch.Tensor, bias: torch.Tensor | None) -> State:
        """The next state, whose first part (batch, units) is the output; x (batch, gates * units)."""
        raise NotImplementedError

    def call(self, inputs: Sequence[torch.Tensor], masks: Sequence[Mask]) -> tuple[torch.Tensor, Mask]:
        x, mask = as_float(inputs[0]), masks[0]
        seen = None if mask is None else mask.unsqueeze(-1)
        if self.backwards:
            x, seen = x.flip(1), None if seen is None else seen.flip(1)
        kernel, recurrent_kernel, bias, recurrent_bias = self.prepare()
        x = x @ kernel if bias is None else x @ kernel + bias
        state = (x.new_zeros(len(x), self.units),) * self.states
        outputs = []
        for time in range(x.shape[1]):
            following = self.step(x[:, time], state, recurrent_kernel, recurrent_bias)
            if seen is not None:
                here = seen[:, time]
                following = tuple(torch.where(here, new, old) for new, old in zip(following, state, strict=True))
            state = following
            if self.zero_when_masked and seen is not None:
                outputs.append(torch.where(seen[:, time], state[0], 0.0))
            else:
                outputs.append(state[0])
        if self.sequences:
            return torch.stack(outputs, 1), mask
        return outputs[-1], None

    def trace_mask(self, masked: Sequence[bool]) -> bool:
        return self.sequences and masked[0]

    def numbered(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[Weight]]]:
        yield from super().numbered((*path, "cell"))


@keras_layer("SimpleRNN")
class SimpleRecurrent(Recurrent):
    def step(self, x: torch.Tensor, state: State, kernel: torch.Tensor, bias: torch.Tensor | None) -> State:
        return (self.activation(x + state[0] @ kernel),)


@keras_layer("LSTM")
class Lstm(Recurrent):
    """Gates in the order input, forget, candidate, output."""

    gates = 4
    states = 2

    def step(self, x: torch.Tensor, state: State, kernel: torch.Tensor, bias: torch.Tensor | None) -> State:
        hidden, cell = state
        i, f, c, o = (x + hidden @ kernel).chunk(4, -1)
        cell = self.gate(f) * cell + self.gate(i) * self.activation(c)
        return self.gate(o) * self.activation(cell), cell


@keras_layer("GRU")
class Gru(Recurrent):
    """Gates in the order update, reset, candidate; the reset gate acts before or after the recurrent product."""

    gates = 3

    def build(self, *shapes: Shape) -> Shape:
        self.resets_after = not self.plain or self.settings.flag("reset_after", False)
        return super().build(*shapes)

    def bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.resets_after else (3 * self.units,)

    def prepare(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        if self.biased and self.resets_after:
            return self.kernel, self.recurrent_kernel, self.bias[0], self.bias[1]
        return super().prepare()

    def step(self, x: torch.Tensor, state: State, kernel: torch.Tensor, bias: torch.Tensor | None) -> State:
        hidden, units = state[0], self.units
        if self.resets_after:
            recurrent = hidden @ kernel if bias is None else hidden @ kernel + bias
            z, r = self.gate(x[:, : 2 * units] + recurrent[:, : 2 * units]).chunk(2, -1)
            candidate = self.activation(x[:, 2 * units :] + r * recurrent[:, 2 * units :])
        else:
            z, r = self.gate(x[:, : 2 * units] + hidden @ kernel[:, : 2 * units]).chunk(2, -1)
            candidate = self.activation(x[:, 2 * units :] + (r * hidden) @ kernel[:, 2 * units :])
        return (z * hidden + (1 - z) * candidate,)


class CudnnLayout(Recurrent):
    """Weights as NVIDIA's library has them: kernels stored crosswise, one bias for inputs and one for the state."""

    plain = False

    def untangle(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Kernel and recurrent kernel in the usual layout."""
        kernels = [block.reshape(self.units, -1).T for block in self.kernel.chunk(self.gates, 1)]
        recurrent = [block.T for block in self.recurrent_kernel.chunk(self.gates, 1)]
        return torch.cat(kernels, 1), torch.cat(recurrent, 1)


@keras_layer("CuDNNLSTM")
class CudnnLstm(CudnnLayout, Lstm):
    def bias_shape(self) -> tuple[int, ...]:
        return (8 * self.units,)

    def prepare(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        return *self.untangle(), self.bias.view(2, -1).sum(0), None


@keras_layer("CuDNNGRU")
class CudnnGru(CudnnLayout, Gru):
    def bias_shape(self) -> tuple[int, ...]:
        return (6 * self.units,)

    def prepare(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        return *self.untangle(), *self.bias.view(2, -1)
