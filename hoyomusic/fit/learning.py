"""What changes while training: one step after the other, the end of an epoch, and what is kept of it."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from hoyomusic.device import choose_dtype
from hoyomusic.errors import TrainingError
from hoyomusic.fit.events import EpochEnded, WentBack
from hoyomusic.fit.measuring import measure, summed_loss, targets_of, to_device
from hoyomusic.fit.settings import FIXED_WITHIN_EPOCH, FitConfig
from hoyomusic.fit.state import FitState
from hoyomusic.model import HoyoMusicLSTM
from hoyomusic.normalisation import BatchNorm, momentum_after
from hoyomusic.ranks import Ranks
from hoyomusic.samples import Sample
from hoyomusic.streams import Batch

# So many steps in a row without a sound loss and gradient make the run go back.
SKIPS_ALLOWED = 3
# How often it may, and what its learning rate is multiplied by each time.
RETREATS_ALLOWED = 3
RETREAT_FACTOR = 0.25
# A loss beyond so many times that of guessing blindly has exploded; below it a wrong model may just begin to learn.
EXPLODED = 10.0
# What the schedule remembers; all else of it are settings.
PLATEAU = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch", "_last_lr")
# The state to go back to is taken at the beginning of an epoch, and in it after so many steps each.
STEPS_TO_REMEMBER = 1000


class Learning:
    """What changes while training: the live counterpart of `FitState`.

    Each of several processes holds all weights and the carried state of its own rows; a step sums their
    gradients, so that all move alike. Gradients and loss go as one flat buffer: DistributedDataParallel
    would do no better with so few and so small weights, and its mean over processes is not that over tokens.
    """

    def __init__(self, model: HoyoMusicLSTM, config: FitConfig, ranks: Ranks) -> None:
        self.model = model.train()
        self.config = config
        self.ranks = ranks
        self.rows = ranks.rows(config.rows)
        self.device = next(model.parameters()).device
        self.dtype = choose_dtype(config.precision, self.device, rows=self.rows.stop - self.rows.start)
        self.averaged = copy.deepcopy(model).requires_grad_(False).eval() if config.averaging else None
        self.norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
        for module in (model, *self.norms):
            module.ranks = ranks
        # Vectors (biases, normalisation) are not decayed: zero is no natural place for them.
        parameters = list(model.parameters())
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [weight for weight in parameters if weight.dim() > 1]},
                {"params": [weight for weight in parameters if weight.dim() == 1], "weight_decay": 0.0},
            ],
            lr=config.learning_rate, weight_decay=config.weight_decay, fused=True,
        )
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, factor=config.plateau_factor, patience=config.plateau_patience
        )
        self.exploded = EXPLODED * math.log(max(model.config.vocabulary, 2))
        self.epoch = self.step = self.segment = self.tokens = self.skipped = self.skipped_in_a_row = self.waited = 0
        self.loss_sum = self.cpu_seconds = 0.0
        self.carried: tuple[Tensor, Tensor] | None = None
        self.best = math.inf
        self.best_weights: dict[str, Tensor] | None = None
        self.history: list[dict[str, Any]] = []
        self.good: dict[str, Any] | None = None
        self.retreats = 0

    def remember(self) -> None:
        """Where the run stands in the epoch is a place to go back to, if it is time for one."""
        if self.segment % STEPS_TO_REMEMBER == 0:
            self.good = self.snapshot().within_epoch()

    def take_step(self, batch: Batch) -> tuple[float, int]:
        """Learn from one segment; its mean loss and count of targets."""
        began = time.process_time()
        loss, taken = self._learn(batch)
        if taken:
            self.skipped_in_a_row = 0
            self.loss_sum += loss * batch.tokens
            self.tokens += batch.tokens
        else:
            self.skipped += 1
            self.skipped_in_a_row += 1
        self.segment += 1
        self.step += 1
        self.cpu_seconds += time.process_time() - began
        return loss, batch.tokens

    def go_back(self) -> WentBack | None:
        """After too many skipped steps become what was good, at a lower rate; None if there is no need.

        All processes of a run have seen the same losses, so all go back or none. Raises TrainingError when
        that has not helped often enough.
        """
        if self.skipped_in_a_row < SKIPS_ALLOWED:
            return None
        if self.retreats == RETREATS_ALLOWED:
            raise TrainingError(
                f"loss or gradient is not a number or explodes, {SKIPS_ALLOWED} steps in a row, after"
                f" {RETREATS_ALLOWED} returns to where all was well at lower learning rates",
                where=f"epoch {self.epoch + 1}, step {self.step}", remedy="lower the learning rate",
            )
        failed, retreats = self.step, self.retreats + 1
        rate = self.optimizer.param_groups[0]["lr"] * RETREAT_FACTOR
        self.restore(replace(self.snapshot(), **self.good, learning_rate=rate, retreats=retreats))
        return WentBack(self.epoch, failed, self.step, rate, retreats)

    def _learn(self, batch: Batch) -> tuple[float, bool]:
        tokens = max(batch.tokens, 1)
        batch = Batch(*(part[self.rows] for part in batch))
        for norm in self.norms:
            norm.momentum = momentum_after(self.step - self.skipped)
        statistics = [buffer.clone() for buffer in self.model.buffers()]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            logits, carried = self.model(
                *(to_device(part, self.device) for part in (batch.ids, batch.region, batch.clock)), self.carried,
                recall=to_device(batch.recall, self.device),
                valid=to_device(batch.valid, self.device), reset=to_device(batch.reset, self.device),
                key=(self.config.seed, self.epoch, self.segment),
            )
        loss = summed_loss(logits, targets_of(batch, self.device)) / tokens
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        loss = self._summed(loss.detach())
        length = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        if not bool((loss < self.exploded) & torch.isfinite(length)):
            # One such step would make every weight NaN; the statistics of normalisation have met it already.
            with torch.no_grad():
                for buffer, before in zip(self.model.buffers(), statistics, strict=True):
                    buffer.copy_(before)
            self.carried = None
            return float(loss), False
        self.optimizer.step()
        self.carried = tuple(part.detach() for part in carried)
        self._average()
        return float(loss), True

    def _summed(self, loss: Tensor) -> Tensor:
        """The loss over the rows of all processes, whose gradients replace ours."""
        if self.ranks.count == 1:
            return loss
        parameters = list(self.model.parameters())
        flat = self.ranks.add(torch.cat([loss.reshape(1), *(weight.grad.reshape(-1) for weight in parameters)]))
        loss, *gradients = flat.split([1, *(weight.numel() for weight in parameters)])
        for weight, gradient in zip(parameters, gradients, strict=True):
            weight.grad = gradient.view_as(weight)
        return loss[0]

    @torch.no_grad()
    def _average(self) -> None:
        """Move the average towards the weights, faster at first, so that it soon forgets where they began."""
        if self.averaged is None:
            return
        taken = self.step - self.skipped
        kept = min(self.config.averaging, (1 + taken) / (10 + taken))
        live = self.model.state_dict()
        for name, average in self.averaged.state_dict().items():
            average.lerp_(live[name], 1 - kept)

    def end_epoch(self, validation: Sequence[Sample]) -> EpochEnded:
        """Validate, keep what is best, adapt the learning rate, and begin the next epoch."""
        candidate = self.averaged or self.model
        value = measure(candidate, validation, rows=self.config.rows, ranks=self.ranks)
        learning_rate = self.optimizer.param_groups[0]["lr"]
        is_best = value < self.best
        if is_best:
            self.best, self.waited, self.best_weights = value, 0, _copied(candidate.state_dict())
        else:
            self.waited += 1
        self.plateau.step(value)
        self.epoch += 1
        event = EpochEnded(
            self.epoch, self.step, self.tokens, self._all_cpu_seconds(), self.loss_sum / max(self.tokens, 1), value,
            learning_rate, self.skipped, is_best,
        )
        self.history.append(asdict(event))
        self.segment = self.tokens = 0
        self.loss_sum = self.cpu_seconds = 0.0
        self.carried = self.good = None
        return event

    def _all_cpu_seconds(self) -> float:
        return float(self.ranks.add(torch.tensor(self.cpu_seconds, dtype=torch.float64)))

    def _all_carried(self) -> list[Tensor] | None:
        """The carried state of the rows of all processes, on the CPU, each (L, B, H)."""
        if self.carried is None:
            return None
        parts = self.ranks.gather(torch.stack([_copy(part) for part in self.carried]))  # (R, 2, L, B / R, H)
        return [part.clone() for part in torch.cat(list(parts), dim=2)]

    def snapshot(self) -> FitState:
        """The state now, its tensors copied to the CPU."""
        return FitState(
            epoch=self.epoch, step=self.step, segment=self.segment, loss_sum=self.loss_sum, tokens=self.tokens,
            cpu_seconds=self._all_cpu_seconds(), skipped=self.skipped, skipped_in_a_row=self.skipped_in_a_row,
            carried=self._all_carried(),
            weights=_copied(self.model.state_dict()),
            averaged=None if self.averaged is None else _copied(self.averaged.state_dict()),
            best_weights=self.best_weights, best=self.best, waited=self.waited,
            moments={index: _copied(moment) for index, moment in self.optimizer.state_dict()["state"].items()},
            learning_rate=self.optimizer.param_groups[0]["lr"], plateau=self.plateau.state_dict(),
            config=asdict(self.config),
            machine=self.machine(),
            history=[dict(entry) for entry in self.history],
            good=self.good, retreats=self.retreats,
        )

    def machine(self) -> dict[str, Any]:
        """What the last bits of a run depend on besides its state."""
        return {
            "torch": str(torch.__version__), "device": str(self.device), "dtype": str(self.dtype),
            "threads": torch.get_num_threads(),
        }

    def restore(self, state: FitState) -> None:
        """Become what `snapshot` told of."""
        changed = [name for name in FIXED_WITHIN_EPOCH if state.config[name] != getattr(self.config, name)]
        if state.segment and changed:
            raise TrainingError(
                f"{' and '.join(changed)} cannot change in the middle of epoch {state.epoch + 1}",
                remedy=f"use {', '.join(f'{name}={state.config[name]}' for name in changed)}",
            )
        try:
            self.model.load_state_dict(state.weights)
            if self.averaged is not None:
                self.averaged.load_state_dict(state.averaged or state.weights)
            optimizer = self.optimizer.state_dict()
            # The optimiser would go on working in the tensors of the state that it was given.
            optimizer["state"] = {index: _copied(moment) for index, moment in state.moments.items()}
            for group in optimizer["param_groups"]:
                group["lr"] = state.learning_rate
            self.optimizer.load_state_dict(optimizer)
            for weight, moment in self.optimizer.state.items():
                if moment["exp_avg"].shape != weight.shape or moment["exp_avg_sq"].shape != weight.shape:
                    raise ValueError("moments of another shape")
            carried = (self.model.config.layers, self.config.rows, self.model.config.hidden)
            if state.segment and any(part.shape != carried for part in state.carried or ()):
                raise ValueError("a carried state of another shape")
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise TrainingError(
                "the training state does not fit the model", remedy="start a new run from the model's weights"
            ) from error
        own = self.plateau.state_dict()
        self.plateau.load_state_dict(
            {name: state.plateau[name] for name in PLATEAU if type(state.plateau.get(name)) is type(own[name])}
        )
        self.epoch, self.step, self.segment = state.epoch, state.step, state.segment
        self.loss_sum, self.tokens = state.loss_sum, state.tokens
        self.cpu_seconds = state.cpu_seconds if self.ranks.first else 0.0
        self.skipped, self.skipped_in_a_row = state.skipped, state.skipped_in_a_row
        self.carried = None
        if state.carried is not None:
            self.carried = tuple(part[:, self.rows].to(self.device).contiguous() for part in state.carried)
        self.best, self.best_weights, self.waited = state.best, state.best_weights, state.waited
        self.history = [dict(entry) for entry in state.history]
        self.good, self.retreats = state.good, state.retreats
        if self.good is None and state.segment:
            # Older programs did not go back, nor told where to.
            self.good = state.within_epoch()


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: _copy(tensor) for name, tensor in tensors.items()}
