"""The LSTM over a segment, in bfloat16 on processors: one small product a step, all others in one piece.

``torch.lstm`` computes the same and is the truth in the tests. In float32 it runs at the speed of the matrix
products that it is made of; in bfloat16 each of its steps has a cost beside them that this way has not.

Letters of shapes: T steps, B rows, I inputs, H hidden width. Gates stand in the order i, f, g, o.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

tanh_backward, sigmoid_backward = torch.ops.aten.tanh_backward, torch.ops.aten.sigmoid_backward


def unroll(
    inputs: Tensor,
    hidden: Tensor,
    cell: Tensor,
    weights: tuple[Tensor, Tensor, Tensor],
    reset: Tensor | None,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs (T, B, I), state two of (B, H), weights (4H, I), (4H, H) and (4H,) -> outputs (T, B, H), new state.

    At the steps marked in `reset` (T, B) bool output and state are exactly 0, whatever the weights, and no gradient
    passes. Matrix products are computed in `dtype`, all else and what is returned is float32.
    """
    return _Unrolled.apply(inputs, hidden, cell, *weights, reset, dtype)


class _Unrolled(torch.autograd.Function):
    """The steps of an LSTM (Hochreiter & Schmidhuber 1997), and back through time.

    tanh(x) is computed as 2 sigmoid(2x) - 1, in a quarter of the time; so one sigmoid does for all four gates,
    and what a gate's gradient is multiplied with is a (1 - a) of its activation a in all of them.
    """

    @staticmethod
    def forward(
        context: Any, inputs: Tensor, hidden: Tensor, cell: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor,
        reset: Tensor | None, dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor, Tensor]:
        steps, rows, width = *inputs.shape[:2], hidden.shape[1]
        doubled = bias.new_ones(4, width, 1)
        doubled[2] = 2
        doubled = doubled.view(-1, 1)
        weight_in, recurrent = ((weight * doubled).to(dtype).T for weight in (weight_ih, weight_hh))
        inputs = inputs.to(dtype)
        driven = torch.addmm((bias * doubled[:, 0]).to(dtype), inputs.flatten(0, 1), weight_in)
        driven = driven.view(steps, rows, 4 * width)
        if reset is not None:
            # Their sigmoid is 0: no gate lets anything in, on or out, and all derivatives are 0.
            driven[reset] = -math.inf
        gates = torch.empty_like(driven, dtype=torch.float32)
        # Place t + 1 holds what step t left; `heard` is the outputs as the products take them.
        outputs, cells = hidden.new_empty(2, steps + 1, rows, width)
        outputs[0], cells[0] = hidden, cell
        heard = torch.empty_like(outputs, dtype=dtype)
        heard[0] = hidden
        bounded = torch.empty_like(cells[1:])
        adds, forgets, news, outs = (part.unbind(0) for part in gates.view(steps, rows, 4, width).unbind(2))
        for step in range(steps):
            gates[step].copy_(torch.addmm(driven[step], heard[step], recurrent)).sigmoid_()
            reached = torch.mul(forgets[step], cells[step], out=cells[step + 1])
            reached.addcmul_(adds[step], news[step], value=2).sub_(adds[step])
            tanh = torch.mul(reached, 2, out=bounded[step]).sigmoid_().mul_(2).sub_(1)
            heard[step + 1] = torch.mul(outs[step], tanh, out=outputs[step + 1])
        context.save_for_backward(inputs, heard, cells, bounded, gates, weight_ih, weight_hh)
        return outputs[1:], outputs[steps].clone(), cells[steps].clone()

    @staticmethod
    @once_differentiable
    def backward(
        context: Any, of_outputs: Tensor, of_hidden: Tensor, of_cell: Tensor
    ) -> tuple[Tensor | None, ...]:
        inputs, heard, cells, bounded, gates, weight_ih, weight_hh = context.saved_tensors
        dtype = inputs.dtype
        steps, rows, width = bounded.shape
        adds, forgets, news, outs = (part.unbind(0) for part in gates.view(steps, rows, 4, width).unbind(2))
        of_gates = torch.empty_like(gates)
        of_adds, of_forgets, of_news, of_outs = (
            part.unbind(0) for part in of_gates.view(steps, rows, 4, width).unbind(2)
        )
        given = torch.empty_like(of_gates, dtype=dtype)
        weight_ih, weight_hh = weight_ih.to(dtype), weight_hh.to(dtype)
        of_cell = of_cell.clone()
        # Step by step, since what is at hand then is still in the processor's cache.
        for step in reversed(range(steps)):
            of_hidden = of_hidden + of_outputs[step]
            torch.mul(of_hidden, bounded[step], out=of_outs[step])
            of_cell += tanh_backward(of_hidden * outs[step], bounded[step])
            twice = of_cell * 2
            torch.mul(twice, news[step], out=of_adds[step]).sub_(of_cell)
            torch.mul(of_cell, cells[step], out=of_forgets[step])
            torch.mul(twice.mul_(2), adds[step], out=of_news[step])
            sigmoid_backward(of_gates[step], gates[step], grad_input=of_gates[step])
            given[step] = of_gates[step]
            of_hidden = (given[step] @ weight_hh).float()
            of_cell.mul_(forgets[step])
        given = given.flatten(0, 1)
        return (
            (given @ weight_ih).float().view(steps, rows, -1),
            of_hidden,
            of_cell,
            (given.T @ inputs.flatten(0, 1)).float(),
            (given.T @ heard[:-1].flatten(0, 1)).float(),
            of_gates.sum((0, 1)),
            None,
            None,
        )
