"""Points of learning curves: measured one by one, kept as lines of JSON, told as a table and as benchmark rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean

from benchmarks.curves.learners import Material, Recipe, make_learner
from benchmarks.plots import draw_lines
from benchmarks.table import Row

# CPU seconds that a network learns before it is the others' turn.
TURN = 10.0
# What is aimed at, in nats per token after `GOAL_SECONDS`: how far peers are to lie above us.
GOAL_SECONDS = 200.0
GOALS = (
    ("ours", "plain LSTM", 0.5),
    ("ours", "GPT-2 style", 0.5),
    ("ours, no recall", "plain LSTM", 0.5),
    ("ours, no recall", "GPT-2 style", 0.5),
    ("ours, no recall", "LayerNorm", 0.0),
)


@dataclass(frozen=True, slots=True)
class Point:
    """What a network had learned when `seconds` were asked for; `cpu_seconds` is what it had spent in truth."""

    network: str
    seed: int
    seconds: float
    cpu_seconds: float
    steps: int
    tokens: int
    parameters: int
    learning_rate: float
    nats_per_token: float
    nats_per_note: float


def follow(recipes: dict[str, Recipe], material: Material, seed: int, seconds: Sequence[float]) -> Iterator[Point]:
    """Train all networks by turns; a point for each at each of the `seconds`, the last of which is the budget."""
    learners = {
        name: make_learner(replace(recipe, budget=seconds[-1]), material, seed) for name, recipe in recipes.items()
    }
    reached = 0.0
    for mark in seconds:
        while reached < mark:
            reached = min(reached + TURN, mark)
            for learner in learners.values():
                if learner.spent < reached:
                    learner.learn(reached)
        for name, learner in learners.items():
            nats = learner.measure()
            yield Point(
                name, seed, mark, learner.spent, learner.steps, learner.tokens, learner.parameters,
                recipes[name].learning_rate, nats, nats / material.notes_per_token,
            )


def read_points(path: Path) -> list[Point]:
    """The points that earlier runs of one budget kept, of repeated ones the last; none where there is no file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    points = [Point(**json.loads(line)) for line in lines]
    return list({(point.network, point.seed, point.seconds): point for point in points}.values())


def keep_point(point: Point, path: Path) -> None:
    """Add a line to the file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(write_point(point) + "\n")


def write_point(point: Point) -> str:
    """A line of JSON."""
    return json.dumps(asdict(point))


def format_points(points: Sequence[Point]) -> str:
    """A table in Markdown, a line a network: nats per token at each mark (mean, least and most of the seeds), speed."""
    marks = sorted({point.seconds for point in points})
    lines = [["network", *(f"{mark:g} s" for mark in marks), "nats a note", "tokens a CPU s", "rate", "parameters"]]
    lines.append(["---"] * len(lines[0]))
    for name in dict.fromkeys(point.network for point in points):
        own = [point for point in points if point.network == name]
        last = [point for point in own if point.seconds == max(point.seconds for point in own)]
        cells = []
        for mark in marks:
            nats = [point.nats_per_token for point in own if point.seconds == mark]
            spread = f" ({min(nats):.3f}-{max(nats):.3f})" if len(nats) > 1 else ""
            cells.append(f"{mean(nats):.3f}{spread}" if nats else "")
        lines.append([
            name, *cells, f"{mean(point.nats_per_note for point in last):.3f}",
            f"{mean(point.tokens / point.cpu_seconds for point in last):,.0f}",
            f"{last[0].learning_rate:g}", f"{last[0].parameters:,}",
        ])  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw_points(points: Sequence[Point]) -> str:
    """The curves as SVG: a line a network, the mean over seeds."""
    series = {
        name: [
            (mark, mean(point.nats_per_token for point in points if (point.network, point.seconds) == (name, mark)))
            for mark in sorted({point.seconds for point in points if point.network == name})
        ]
        for name in dict.fromkeys(point.network for point in points)
    }
    return draw_lines("What is learned in a CPU second", "CPU seconds", "nats per token", series)


def make_rows(points: Sequence[Point]) -> list[Row]:
    """How many nats per token ours lies below each peer, at the last mark; goals are those of `GOAL_SECONDS`."""
    mark = max(point.seconds for point in points)
    nats = {
        name: mean(point.nats_per_token for point in points if (point.network, point.seconds) == (name, mark))
        for name in {point.network for point in points}
    }
    return [
        Row(
            f"{mine}, nats below after {mark:g} CPU s", nats[peer] - nats[mine], unit="nats a token", versus=peer,
            goal=goal if mark >= GOAL_SECONDS else None,
        )
        for mine, peer, goal in GOALS
        if mine in nats and peer in nats
    ]
