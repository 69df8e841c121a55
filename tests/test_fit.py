"""Training: it learns, it resumes bit for bit, it survives what is not a number."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from hoyomusic.errors import TrainingError, UsageError
from hoyomusic.fit import EpochEnded, FitConfig, FitState, RunStarted, StepDone, Stopped, WentBack, fit, measure
from hoyomusic.model import HoyoMusicLSTM, ModelConfig
from hoyomusic.streams import Sample

SIZES = ModelConfig(vocabulary=12, regions=3, clocks=5, embedding=8, hidden=16, layers=2, dropout=0.2)
CONFIG = FitConfig(epochs=4, rows=4, steps=8, learning_rate=0.01, precision="fp32", averaging=0.9)


def make_samples(count: int, seed: int) -> list[Sample]:
    """Sequences in which each id follows from the one before it and the region, so that there is something to learn."""
    generator = np.random.default_rng(seed)
    samples = []
    for _ in range(count):
        region, ids = int(generator.integers(3)), [0, int(generator.integers(2, 12))]
        for _ in range(int(generator.integers(5, 25))):
            ids.append(2 + (ids[-1] * 3 + region) % 10)
        ids.append(1)
        samples.append(Sample(np.array(ids, np.uint16), region, np.arange(len(ids), dtype=np.uint16) % 5))
    return samples


TRAINING, VALIDATION = make_samples(30, 1), make_samples(6, 2)


def same(one, other) -> bool:
    """Equality in every bit of nested dicts and lists of tensors and plain values."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other) and one.dtype == other.dtype
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def comparable(state: FitState) -> dict:
    """All of a state but the processor time, which no two runs share."""
    values = state.to_dict()
    values.pop("cpu_seconds")
    values["history"] = [{**entry, "cpu_seconds": 0} for entry in values["history"]]
    return values


def run(config=CONFIG, *, state=None, model=None, **hooks) -> FitState:
    model = HoyoMusicLSTM(SIZES, seed=5) if model is None else model
    return fit(model, TRAINING, VALIDATION, config, state=state, **hooks)


@pytest.fixture(scope="module")
def whole_run() -> FitState:
    return run()


def test_loss_falls_until_it_is_learned_by_heart():
    config = FitConfig(
        epochs=60, rows=2, steps=16, learning_rate=0.02, weight_decay=0.0, precision="fp32", patience=60,
        plateau_patience=60, averaging=0.9, region_dropout=0.0,
    )
    model = HoyoMusicLSTM(
        ModelConfig(vocabulary=12, regions=3, clocks=5, embedding=16, hidden=32, layers=2, dropout=0.0), seed=1
    )
    samples = TRAINING[:6]
    before = measure(model, samples)
    state = fit(model, samples, samples, config)
    model.load_state_dict(state.result)
    # What cannot be known is the second id (six samples in three regions) and where a sample ends.
    assert before > 2.3
    assert measure(model, samples) < 0.15
    assert state.history[-1]["nats_per_token"] < 0.3


def test_measure_does_not_depend_on_the_batch():
    model = HoyoMusicLSTM(SIZES, seed=5)
    assert measure(model, VALIDATION, rows=1) == pytest.approx(measure(model, VALIDATION, rows=6), abs=1e-6)
    assert model.training


def test_same_seed_same_run_and_another_seed_another_run(whole_run):
    assert same(comparable(run()), comparable(whole_run))
    other = run(replace(CONFIG, seed=1, epochs=1))
    assert not same(other.best_weights, run(replace(CONFIG, epochs=1)).best_weights)


def test_the_global_random_state_is_neither_read_nor_moved(whole_run):
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert same(comparable(run()), comparable(whole_run))
    assert torch.equal(torch.get_rng_state(), before)


def test_two_epochs_and_two_more_equal_four(whole_run):
    first = run(replace(CONFIG, epochs=2))
    second = run(state=FitState.from_dict(first.to_dict()), model=HoyoMusicLSTM(SIZES, seed=77))
    assert same(comparable(second), comparable(whole_run))


@pytest.mark.parametrize("steps", [1, 20, "last of an epoch"])
def test_stopped_anywhere_and_resumed_equals_a_whole_run(whole_run, steps):
    seen = []

    def enough() -> bool:
        done = seen[-1]
        return done.segment == done.segments if steps == "last of an epoch" else len(seen) == steps + 1

    stopped = run(on_event=seen.append, should_stop=enough)
    assert isinstance(seen[-1], Stopped) and seen[-1].reason == "asked"
    assert stopped.segment > 0
    resumed = run(state=FitState.from_dict(stopped.to_dict()), model=HoyoMusicLSTM(SIZES, seed=77))
    assert same(comparable(resumed), comparable(whole_run))


def test_saving_on_the_way_changes_nothing(whole_run):
    saved = []
    state = run(replace(CONFIG, save_seconds=1e-9), save=saved.append)
    assert len(saved) == state.step + CONFIG.epochs
    assert same(comparable(state)["best_weights"], whole_run.best_weights)
    assert same(comparable(run(state=saved[10])), comparable(whole_run))


def test_events_tell_the_run(whole_run):
    events = []
    state = run(on_event=events.append)
    assert isinstance(events[0], RunStarted) and events[0].device == "cpu" and events[0].precision == "fp32"
    ended = [event for event in events if isinstance(event, EpochEnded)]
    assert [event.epoch for event in ended] == [1, 2, 3, 4]
    targets = sum(len(sample.ids) - 1 for sample in TRAINING)
    assert all(event.tokens == targets and event.cpu_seconds > 0 for event in ended)
    assert ended[-1].nats_per_token < ended[0].nats_per_token
    assert state.best == min(event.validation_nats_per_token for event in ended)
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [event.step for event in steps] == list(range(1, state.step + 1))
    assert sum(event.tokens for event in steps) == 4 * targets
    assert steps[-1].eta_seconds == 0 <= steps[0].eta_seconds
    assert events[-1] == Stopped("epochs", 4, state.step)
    assert state.finished


def test_the_best_weights_are_those_validated():
    state = run()
    model = HoyoMusicLSTM(SIZES)
    model.load_state_dict(state.result)
    assert measure(model, VALIDATION, rows=CONFIG.rows) == state.best


def test_a_finished_run_has_nothing_to_do(whole_run):
    events = []
    state = run(state=whole_run, on_event=events.append)
    assert [type(event) for event in events] == [RunStarted, Stopped]
    assert same(comparable(state), comparable(whole_run))


def test_plateau_lowers_the_rate_and_patience_ends_the_run(monkeypatch):
    values = iter([2.0, 1.0, 1.5, 1.5, 1.5, 1.5])
    monkeypatch.setattr("hoyomusic.fit.learning.measure", lambda *arguments, **options: next(values))
    events = []
    state = run(
        replace(CONFIG, epochs=50, plateau_patience=1, plateau_factor=0.5, patience=4), on_event=events.append
    )
    ended = [event for event in events if isinstance(event, EpochEnded)]
    assert [event.best for event in ended] == [True, True, False, False, False, False]
    assert [event.learning_rate for event in ended] == [0.01] * 4 + [0.005] * 2
    assert events[-1] == Stopped("patience", 6, state.step)
    assert state.finished and state.learning_rate == 0.0025 and state.best == 1.0


class Poisoned(HoyoMusicLSTM):
    """A model whose logits are not numbers in the steps named in `bad`, normalisation statistics included."""

    bad: tuple[int, ...] = ()
    calls = 0

    def forward(self, *arguments, **options):
        logits, state = super().forward(*arguments, **options)
        if self.training:
            self.calls += 1
            if self.calls in self.bad:
                self.layers[0].norm.running_mean.data.fill_(math.nan)
                return logits * math.nan, tuple(part * math.nan for part in state)
        return logits, state


def test_statistics_of_normalisation_come_from_training_alone():
    model = HoyoMusicLSTM(SIZES, seed=5)
    for layer in model.layers:
        layer.norm.running_mean.fill_(3.0)
        layer.norm.running_var.fill_(50.0)
    expected, found = (run(replace(CONFIG, epochs=1), model=each).weights for each in (None, model))
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-3)


def test_a_step_that_is_not_a_number_is_undone_and_counted():
    model = Poisoned(SIZES, seed=5)
    model.bad = (3, 4, 8)
    losses = []
    state = run(
        replace(CONFIG, epochs=1), model=model,
        on_event=lambda event: losses.append(event.loss) if isinstance(event, StepDone) else None,
    )
    assert [index + 1 for index, loss in enumerate(losses) if math.isnan(loss)] == [3, 4, 8]
    assert state.skipped == 3 and state.skipped_in_a_row == 0
    for weights in (state.weights, state.averaged, state.best_weights):
        assert all(torch.isfinite(weight).all() for weight in weights.values())


def test_three_bad_steps_in_a_row_take_the_run_back_where_it_was_well(whole_run):
    def work(bad, **hooks):
        model = Poisoned(SIZES, seed=5)
        model.bad = bad
        events = []
        state = run(model=model, on_event=events.append, **hooks)
        return state, [event for event in events if isinstance(event, WentBack)]

    per_epoch = whole_run.step // 4
    first = per_epoch + 4
    state, back = work((first, first + 1, first + 2))
    assert back == [WentBack(1, first + 2, per_epoch, 0.0025, 1)]
    assert state.step == whole_run.step and state.retreats == 1 and state.skipped == 0
    assert [epoch["learning_rate"] for epoch in state.history] == [0.01] + 3 * [0.0025]
    # As if the second epoch had begun at the lower rate.
    one = run(replace(CONFIG, epochs=1))
    one.learning_rate, one.retreats = 0.0025, 1
    assert same(comparable(run(state=one)), comparable(state))
    assert same(comparable(work((first, first + 1, first + 2))[0]), comparable(state))


def test_a_run_that_went_back_or_will_can_be_paused():
    bad = (4, 5, 6)

    config = replace(CONFIG, epochs=2)

    def poisoned(until=None, state=None, calls=0):
        model = Poisoned(SIZES, seed=5)
        model.bad, model.calls = bad, calls
        events = []
        return run(
            config, model=model, state=state, on_event=events.append,
            should_stop=lambda: sum(isinstance(event, StepDone) for event in events) == until,
        )

    whole = poisoned()
    for until in (2, 5, 6, 9):
        paused = FitState.from_dict(poisoned(until).to_dict())
        # Before the return to its beginning two steps are known to be bad, behind it the run is at its beginning.
        assert (paused.retreats, paused.segment) == {2: (0, 2), 5: (0, 5), 6: (1, 0), 9: (1, 3)}[until]
        assert same(comparable(poisoned(None, paused, until)), comparable(whole))


def test_in_a_long_epoch_a_run_does_not_go_back_to_its_beginning(monkeypatch):
    monkeypatch.setattr("hoyomusic.fit.learning.STEPS_TO_REMEMBER", 4)
    model, events = Poisoned(SIZES, seed=5), []
    model.bad = (7, 8, 9)
    run(replace(CONFIG, epochs=1), model=model, on_event=events.append)
    # Step 8 was the beginning of a new stretch: what was there is as good, for skipped steps change nothing.
    assert [(event.failed_step, event.step) for event in events if isinstance(event, WentBack)] == [(9, 8)]


def test_what_going_back_does_not_mend_ends_the_run():
    model, saved = Poisoned(SIZES, seed=5), []
    model.bad = range(30, 1000)
    message = (
        "^epoch 2, step 21: loss or gradient is not a number or explodes, 3 steps in a row, after 3 returns to where"
        " all was well at lower learning rates; lower the learning rate$"
    )
    with pytest.raises(TrainingError, match=message):
        run(model=model, save=saved.append)
    assert [state.epoch for state in saved] == [1]
    assert all(torch.isfinite(weight).all() for weight in saved[0].weights.values())


class Exploding(HoyoMusicLSTM):
    """A model whose logits are a thousand times too large in the steps named in `bad`."""

    bad: tuple[int, ...] = ()
    calls = 0

    def forward(self, *arguments, **options):
        logits, state = super().forward(*arguments, **options)
        self.calls += self.training
        return (logits * 1000 if self.training and self.calls in self.bad else logits), state


def test_a_loss_that_explodes_is_skipped():
    model, losses = Exploding(SIZES, seed=5), []
    model.bad = (30, 40)
    state = run(
        model=model, on_event=lambda event: losses.append((event.loss, event.skipped))
        if isinstance(event, StepDone) else None,
    )
    assert state.skipped == 2
    assert [index + 1 for index, (loss, _) in enumerate(losses) if loss > 3 * math.log(12)] == [30, 40]
    assert [skipped for _, skipped in losses][28:40] == [0] + 10 * [1] + [2]


@pytest.fixture
def bf16(monkeypatch):
    """bf16 where the hardware has none: in software, slow and exact."""
    monkeypatch.setattr("hoyomusic.fit.learning.choose_dtype", lambda *arguments, **options: torch.bfloat16)


def test_a_paused_run_in_bf16_ends_as_a_whole_one_does(bf16, whole_run):
    config, events = replace(CONFIG, epochs=2), []
    whole = run(config)
    assert not same(whole.weights, run(replace(config, seed=1)).weights)
    assert whole.machine["dtype"] == "torch.bfloat16"
    stopped = run(config, on_event=events.append, should_stop=lambda: len(events) == 9)
    assert 0 < stopped.segment < 18
    resumed = run(config, state=FitState.from_dict(stopped.to_dict()), model=HoyoMusicLSTM(SIZES, seed=77))
    assert same(comparable(resumed), comparable(whole))
    first = run(replace(config, epochs=1))
    assert same(comparable(run(config, state=first, model=HoyoMusicLSTM(SIZES, seed=77))), comparable(whole))


def test_with_another_number_of_threads_it_goes_on_within_float_error(whole_run):
    events, told = [], []
    last = whole_run.step - 2
    first = run(on_event=told.append, should_stop=lambda: getattr(told[-1], "step", 0) == last)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        resumed = run(state=first, on_event=events.append)
    finally:
        torch.set_num_threads(threads)
    assert events[0].differences == (f"number of threads {threads} then, {threads + 1} now",)
    for name, weight in whole_run.weights.items():
        torch.testing.assert_close(resumed.weights[name], weight, rtol=0, atol=1e-3)


def test_what_is_another_machine_is_told(whole_run):
    events = []
    run(state=whole_run, on_event=events.append)
    assert events[0].differences == ()
    before = {**whole_run.machine, "torch": "1.0", "device": "cuda:0", "dtype": "torch.bfloat16"}
    run(state=FitState.from_dict({**whole_run.to_dict(), "machine": before}), on_event=events.append)
    assert events[2].differences == (
        f"torch 1.0 then, {torch.__version__} now", "device cuda:0 then, cpu now",
        "precision bfloat16 then, float32 now",
    )


def test_a_clock_that_goes_back_changes_nothing(whole_run, monkeypatch):
    hours = iter(range(10**9, 0, -3600))
    monkeypatch.setattr("time.time", lambda: float(next(hours)))
    events = []
    assert same(comparable(run(on_event=events.append)), comparable(whole_run))
    assert all(event.eta_seconds >= 0 for event in events if isinstance(event, StepDone))


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CPUAllocator: can't allocate memory")],
)
def test_out_of_memory_names_the_rows_and_half_of_them(error):
    model = HoyoMusicLSTM(SIZES)
    model.forward = lambda *arguments, **options: (_ for _ in ()).throw(error)
    with pytest.raises(TrainingError, match="epoch 1, step 1: memory ran out with 4 rows of 8 steps; try 2 rows"):
        run(model=model)


def test_out_of_memory_between_the_steps_is_told_as_well(monkeypatch):
    def measure_nothing(*arguments, **options):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("hoyomusic.fit.learning.measure", measure_nothing)
    with pytest.raises(TrainingError, match="epoch 1, step 19: memory ran out with 4 rows of 8 steps; try 2 rows"):
        run()


def test_other_runtime_errors_pass():
    model = HoyoMusicLSTM(SIZES)
    model.forward = lambda *arguments, **options: (_ for _ in ()).throw(RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        run(model=model)


def test_nothing_to_learn_from_or_to_validate_with():
    with pytest.raises(TrainingError, match="no samples to validate with"):
        fit(HoyoMusicLSTM(SIZES), TRAINING, [], CONFIG)
    with pytest.raises(TrainingError, match="no samples to train on"):
        fit(HoyoMusicLSTM(SIZES), [], VALIDATION, CONFIG)


def test_a_state_that_does_not_fit_is_refused(whole_run):
    values = whole_run.to_dict()
    with pytest.raises(TrainingError, match="other entries than expected: moments"):
        FitState.from_dict({name: value for name, value in values.items() if name != "moments"})
    with pytest.raises(TrainingError, match="does not fit the model"):
        run(state=whole_run, model=HoyoMusicLSTM(ModelConfig(13, 3, 5, 8, 16, 2)))
    for name, value in [
        ("step", "3"), ("epoch", -1), ("best", math.nan), ("weights", {"a": 1}), ("carried", [1, 2]), ("history", [{}]),
        ("moments", []), ("plateau", 3), ("learning_rate", None),
    ]:
        with pytest.raises(TrainingError, match=f"holds no {name} as training leaves it"):
            FitState.from_dict({**values, name: value})
    with pytest.raises(TrainingError, match="settings that cannot be: .*'wings'"):
        FitState.from_dict({**values, "config": {**values["config"], "wings": 2}})
    with pytest.raises(TrainingError, match="other entries than expected: good"):
        FitState.from_dict({**values, "good": {"step": 1}})
    swapped = FitState.from_dict({**values, "moments": {0: values["moments"][1], 1: values["moments"][0]}})
    with pytest.raises(TrainingError, match="does not fit the model"):
        run(state=swapped)
    stopped = run(should_stop=lambda: True)
    shorter = [part[:, :2] for part in stopped.carried]
    with pytest.raises(TrainingError, match="does not fit the model"):
        run(state=FitState.from_dict({**stopped.to_dict(), "carried": shorter}))
    # A state of an earlier program, which did not go back.
    older = {name: value for name, value in stopped.to_dict().items() if name not in ("good", "retreats")}
    assert same(comparable(run(state=FitState.from_dict(older))), comparable(whole_run))
    with pytest.raises(TrainingError, match="rows and seed cannot change in the middle of epoch 1; use rows=4, seed=0"):
        run(replace(CONFIG, rows=8, seed=1), state=stopped)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"epochs": 0}, "epochs is 0; give a whole number, 1 or more"),
        ({"seed": -1}, "seed is -1; give a whole number, 0 or more"),
        ({"rows": 2.5}, "rows is 2.5; give a whole number"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; give a number above 0 to less than 1"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"averaging": 1.0}, "averaging is 1.0; give a number from 0 to less than 1"),
        ({"clip": math.inf}, "clip is inf; give a number above 0"),
    ],
)
def test_senseless_configurations_are_refused(wish, message):
    with pytest.raises(UsageError) as caught:
        FitConfig(**wish)
    assert str(caught.value).startswith(message)
