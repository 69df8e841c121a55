"""What was found about a model: all figures, the goals they are held to, and the tables that say them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from math import sqrt
from typing import Any

from hoyomusic.evaluation.distances import Distance
from hoyomusic.evaluation.diversity import NOTES as DIVERSITY_NOTES
from hoyomusic.evaluation.diversity import Diversity
from hoyomusic.evaluation.form import FormRow
from hoyomusic.evaluation.judge import Confusion, Fidelity
from hoyomusic.evaluation.likelihood import Likelihood
from hoyomusic.evaluation.quotation import Quotation
from hoyomusic.evaluation.styled import NOTES as STYLE_NOTES
from hoyomusic.evaluation.styled import Obedience
from hoyomusic.evaluation.validity import Validity
from hoyomusic.novelty import QUOTATION

LEAST_FIDELITY = 0.95
LEAST_DIVERSITY = 0.90
FARTHEST_HISTOGRAM = 3.0
MOST_QUOTING = 0.02

# What `to_dict` tells of a value besides its fields.
_DERIVED: dict[type, tuple[str, ...]] = {
    Confusion: ("recalls", "balanced_accuracy"),
    Distance: ("ratio",),
    Diversity: ("ratios",),
    Fidelity: ("fidelity",),
    Likelihood: ("tokens_per_note",),
    Obedience: ("complete",),
    Validity: ("share",),
}


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one evaluation; each part is explained where it is made.

    `model` is the file, `identity` its SHA-256, `corpus` the hash of the corpus; `tunes` were made of each
    nation in `validity`. Parts that could not be measured are empty or None, and `notices` say why.
    """

    model: str
    identity: str
    corpus: str
    tunes: int
    seed: int
    guidance: float
    temperature: float
    notices: tuple[str, ...]
    likelihood: tuple[Likelihood, ...]
    validity: dict[str, Validity]
    held_out_validity: Validity
    fidelity: tuple[Fidelity, ...]
    styles: Confusion | None
    obedience: tuple[Obedience, ...]
    diversity: tuple[Diversity, ...]
    histograms: tuple[FormRow, ...]
    forms: tuple[FormRow, ...]
    quotation: tuple[Quotation, ...]
    held_out_quotation: tuple[Quotation, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values, goals included."""
        return {**_make_plain(self), "goals": [_make_plain(goal) for goal in list_goals(self)]}


@dataclass(frozen=True, slots=True)
class Goal:
    """Something that a good model does: what is measured, what is asked, what was found, and whether that is enough."""

    what: str
    asked: str
    found: str
    met: bool


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under `columns`: the first `names` and the last `remarks` hold words, the others numbers."""

    title: str
    about: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int = 1
    remarks: int = 0

    def holds_words(self, place: int) -> bool:
        """Whether the column holds words, to be set flush left."""
        return place < self.names or place >= len(self.columns) - self.remarks


def _make_plain(value: Any) -> Any:
    if is_dataclass(value):
        names = [field.name for field in fields(value)] + list(_DERIVED.get(type(value), ()))
        return {name: _make_plain(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {name: _make_plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_make_plain(entry) for entry in value]
    return value


def list_goals(report: Report) -> tuple[Goal, ...]:
    """The goals that the report can speak about."""
    return tuple(_judge_goals(report))


def _judge_goals(report: Report) -> Iterator[Goal]:
    valid = sum(validity.valid for validity in report.validity.values())
    tunes = sum(validity.tunes for validity in report.validity.values())
    yield Goal("tunes that are wholly valid", "all", f"{valid:,} of {tunes:,}", valid == tunes)
    for each in report.fidelity:
        if each.notes is not None:
            error = estimate_error(each)
            yield Goal(
                f"fidelity to the nations at {each.notes} notes",
                f"{100 * LEAST_FIDELITY:.0f} to 100 %, within two errors",
                f"{100 * each.fidelity:.1f} % (error {100 * error:.1f})",
                LEAST_FIDELITY <= each.fidelity <= 1 + 2 * error,
            )
    if report.diversity:
        least = min(report.diversity, key=lambda each: min(each.ratios))
        yield Goal(
            "diversity within a nation, by the real tunes'",
            f"{100 * LEAST_DIVERSITY:.0f} % or more",
            f"{100 * min(least.ratios):.0f} % ({least.nation})",
            min(least.ratios) >= LEAST_DIVERSITY,
        )
    told = [row for row in report.histograms if row.distance.ratio is not None]
    if told:
        farthest = max(told, key=lambda row: row.distance.ratio)
        yield Goal(
            "histograms of intervals and rhythm, by chance",
            f"at most {FARTHEST_HISTOGRAM:.0f} times",
            f"{farthest.distance.ratio:.2f} times ({farthest.nation}, {farthest.trait})",
            farthest.distance.ratio <= FARTHEST_HISTOGRAM,
        )
    if report.obedience:
        disobeyed = [each.nation for each in report.obedience if not each.complete]
        yield Goal(
            "scale, metre and tempo of styled nations",
            "kept in every note and bar",
            f"not in {', '.join(disobeyed)}" if disobeyed else "kept",
            not disobeyed,
        )
    quoting = sum(each.quoting * each.tunes for each in report.quotation) / tunes
    yield Goal(
        f"tunes that share {QUOTATION} notes or more with one that was learned",
        f"at most {100 * MOST_QUOTING:.0f} %",
        f"{100 * quoting:.1f} %",
        quoting <= MOST_QUOTING,
    )


def estimate_error(fidelity: Fidelity) -> float:
    """One standard error of the fidelity: recalls of generated and of real tunes taken as binomial shares."""

    def vary(confusion: Confusion) -> float:
        shares = [(row[place] / sum(row), sum(row)) for place, row in enumerate(confusion.counts) if sum(row)]
        return sqrt(sum(share * (1 - share) / count for share, count in shares)) / len(shares)

    generated, real = (
        vary(confusion) / max(confusion.balanced_accuracy, 1e-9) for confusion in (fidelity.generated, fidelity.real)
    )
    return fidelity.fidelity * sqrt(generated**2 + real**2)


# ---------------------------------------------------------------------- tables


def list_tables(report: Report) -> tuple[Table, ...]:
    """The report as tables, in the order in which it is read; parts without figures are left out."""
    tables = [
        _table_goals(report), _table_likelihood(report.likelihood), _table_validity(report),
        *(table for fidelity in report.fidelity for table in _table_fidelity(fidelity)),
        *_table_styles(report), _table_obedience(report.obedience), _table_diversity(report.diversity),
        _table_histograms(report.histograms), *_table_forms(report.forms), _table_quotation(report),
    ]  # fmt: skip
    return tuple(table for table in tables if table.rows)


def _table_goals(report: Report) -> Table:
    rows = tuple((goal.what, goal.asked, goal.found, "yes" if goal.met else "no") for goal in list_goals(report))
    return Table("Goals", "", ("goal", "asked", "found", "met"), rows, names=4)


def _table_likelihood(rows: Sequence[Likelihood]) -> Table:
    return Table(
        "Likelihood",
        "nats per token / per note on held-out tunes; the other label is the mean over the other learned nations",
        ("held-out tunes of", "tunes", "tokens", "notes", "own label", "no label", "other label", "5-gram"),
        tuple(
            (
                row.nation, f"{row.tunes:,}", f"{row.tokens:,}", f"{row.notes:,}",
                *(
                    f"{nats:.3f} / {nats * row.tokens_per_note:.3f}"
                    for nats in (row.right, row.unlabelled, row.wrong, row.ngram)
                ),
            )
            for row in rows
        ),
    )  # fmt: skip


def _table_validity(report: Report) -> Table:
    entries = {**report.validity, "(held-out real tunes)": report.held_out_validity}
    return Table(
        "Validity",
        "bars, upbeats and complements, repeats and endings, ties, final bar line, range, by an independent checker",
        ("nation", "tunes", "valid", "%", "bars", "faults: tunes"),
        tuple(
            (
                nation, f"{each.tunes:,}", f"{each.valid:,}", _percent(each.share), f"{each.bars:,}",
                "; ".join(f"{kind}: {count}" for kind, count in each.faults.items()),
            )
            for nation, each in entries.items()
            if each.tunes
        ),
        remarks=1,
    )  # fmt: skip


def _table_fidelity(fidelity: Fidelity) -> Iterator[Table]:
    length = "whole tunes" if fidelity.notes is None else f"{fidelity.notes} notes from the middle"
    short = "; shorter and taken whole: real {} %, generated {} %".format(*map(_percent, fidelity.shorter))
    error = 100 * estimate_error(fidelity)
    yield table_confusion(
        f"Who is it? {length}, real tunes",
        f"balanced accuracy {fidelity.real.balanced_accuracy:.3f}: the ceiling{short if fidelity.notes else ''}",
        fidelity.real,
    )
    yield table_confusion(
        f"Who is it? {length}, generated tunes",
        f"balanced accuracy {fidelity.generated.balanced_accuracy:.3f},"
        f" fidelity {100 * fidelity.fidelity:.1f} % of the ceiling (standard error {error:.1f})",
        fidelity.generated,
    )


def table_confusion(title: str, about: str, confusion: Confusion) -> Table:
    """A confusion matrix with the recall of each nation that was judged."""
    recalls = confusion.recalls
    return Table(
        title,
        about,
        ("true \\ said", *confusion.nations, "recall"),
        tuple(
            (nation, *(f"{count:,}" for count in row), f"{recalls[nation]:.3f}")
            for nation, row in zip(confusion.nations, confusion.counts, strict=True)
            if nation in recalls
        ),
    )


def _table_styles(report: Report) -> Iterator[Table]:
    if report.styles is not None:
        yield table_confusion(
            f"Who is it? {STYLE_NOTES} notes, generated tunes of styled nations and real ones of learned nations",
            f"balanced accuracy {report.styles.balanced_accuracy:.3f}; this judge knows metre and scale degrees too",
            report.styles,
        )


def _table_obedience(rows: Sequence[Obedience]) -> Table:
    return Table(
        "Styled nations: is the rule kept?",
        "against the nation's profile: sounding notes outside of its scale, bars in other metres, tempo out of range",
        ("nation", "tunes", "notes", "outside", "bars", "outside", "tempo outside", "% ending on a final"),
        tuple(
            (
                each.nation, f"{each.tunes:,}", f"{each.notes:,}", f"{each.notes_outside:,}", f"{each.bars:,}",
                f"{each.bars_outside:,}", f"{each.tempos_outside:,}", _percent(each.at_rest),
            )
            for each in rows
        ),
    )  # fmt: skip


def _table_diversity(rows: Sequence[Diversity]) -> Table:
    return Table(
        "Diversity within a nation",
        f"excerpts of {DIVERSITY_NOTES} notes, as many generated as real: mean distance of two, and distinct runs",
        ("nation", "excerpts", "distance", "real", "%", "distinct", "real", "%"),
        tuple(
            (
                each.nation, f"{each.tunes:,}",
                *(f"{value:.3f}" for value in each.distance), _percent(each.ratios[0]),
                *(f"{value:.3f}" for value in each.distinct), _percent(each.ratios[1]),
            )
            for each in rows
        ),
    )  # fmt: skip


def _table_histograms(rows: Sequence[FormRow]) -> Table:
    return Table(
        "Histograms of intervals and rhythm",
        "Jensen-Shannon divergence from all real tunes in bits; chance: as many real tunes from all others",
        ("nation", "of", "generated", "chance", "times"),
        tuple(
            (row.nation, row.trait, f"{row.distance.found:.4f}", f"{row.distance.chance:.4f}", _times(row.distance))
            for row in rows
        ),
        names=2,
    )


def _table_forms(rows: Sequence[FormRow]) -> Iterator[Table]:
    for nation in dict.fromkeys(row.nation for row in rows):
        yield Table(
            f"Form: {nation}",
            "how far generated tunes lie from held-out ones; chance: two parts of the real tunes, as many in each",
            ("trait", "generated", "held-out", "distance", "chance", "times"),
            tuple(
                (
                    row.trait,
                    *(("", "") if row.means is None else (f"{mean:.3f}" for mean in row.means)),
                    f"{row.distance.found:.4f}", f"{row.distance.chance:.4f}", _times(row.distance),
                )
                for row in rows
                if row.nation == nation
            ),
        )  # fmt: skip


def _table_quotation(report: Report) -> Table:
    entries = [
        *((each.nation, each) for each in report.quotation),
        *((f"({each.nation}, held-out real)", each) for each in report.held_out_quotation),
    ]
    return Table(
        "Novelty",
        "the longest run of notes shared with a training tune, in any key; new: windows of 8 notes that none has",
        ("nation", "tunes", "median", "95 %", "longest", f"% with {QUOTATION} or more", "% new", "longest is from"),
        tuple(
            (
                name, f"{each.tunes:,}", f"{each.median:.0f}", f"{each.high:.0f}", f"{each.longest}",
                _percent(each.quoting), _percent(each.new), each.source or "",
            )
            for name, each in entries
        ),
        remarks=1,
    )  # fmt: skip


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _times(distance: Distance) -> str:
    return "" if distance.ratio is None else f"{distance.ratio:.2f}"
