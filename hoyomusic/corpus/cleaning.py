"""What a tune loses before it is learned, each loss named; and why a tune is not learned at all.

Nothing is dropped in silence: `clean` says what it took away, `find_reason` why a tune is refused, and
both end in the report that `hoyo corpus stats` shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from hoyomusic.corpus.modes import with_inferred_key, with_inferred_mode
from hoyomusic.corpus.rebarring import add_missing_lines, infer_metre, rebar, remove_stray_lines
from hoyomusic.tune import Bar, Fault, Note, Pitch, Tune

# Shorter tunes hold no phrase; longer ones are parts of larger works (the longest shipped tune has 715 notes).
FEWEST_NOTES = 8
MOST_NOTES = 2000

NO_NOTES = "no notes"
NO_KEY = "no key"
NO_METRE = "no metre"
BARS_DO_NOT_ADD_UP = "bars do not add up"
TOO_SHORT = f"fewer than {FEWEST_NOTES} notes"
TOO_LONG = f"more than {MOST_NOTES} notes"


@dataclass(frozen=True, slots=True)
class Treatment:
    """How the tunes of a source are put right, beyond what all tunes get.

    `rebars`: its bar lines are incomplete. `infers_mode`: its key field names no mode.
    `infers_metre`: its tunes have bars though they lack a metre.
    """

    rebars: bool = False
    infers_mode: bool = False
    infers_metre: bool = True


def clean(tune: Tune, treatment: Treatment = Treatment()) -> tuple[Tune, list[str]]:
    """The tune as it is learned, and the names of what changed on the way.

    Chords, ties, repeats, endings and changes of metre or key stay. Grace notes, chord symbols, the
    play order of parts and their labels (a double bar stays in their place), accidentals that a key
    adds to its signature (pitches are absolute), ties into nothing and changes that change nothing go.
    A missing key or metre is inferred where the notes or the bars allow it. Where a bar holds exactly
    two, or two hold exactly one, the bar line is put right.
    """
    changes: list[str] = []

    def change(name: str, changed: Tune) -> None:
        nonlocal tune
        if changed != tune:
            changes.append(name)
            tune = changed

    change("grace notes dropped", _without_graces(tune))
    change("chord symbols dropped", _without_symbols(tune))
    change("parts dropped", _without_parts(tune))
    change("accidentals of keys dropped", _without_explicit_accidentals(tune))
    change("ties into nothing dropped", _without_loose_ties(tune))
    if tune.key.mode == "none":
        change("key inferred", with_inferred_key(tune) or tune)
    change("idle changes dropped", _without_idle_changes(tune))
    if treatment.infers_mode:
        change("mode inferred", with_inferred_mode(tune))
    if treatment.infers_metre and tune.metre is None and tune.bars and not any(bar.metre for bar in tune.bars):
        change("metre inferred", replace(tune, metre=infer_metre(tune)))
    if treatment.rebars:
        change("bars drawn by arithmetic", rebar(tune))
    change("missing bar lines added", add_missing_lines(tune))
    change("stray bar lines removed", remove_stray_lines(tune))
    return tune, changes


def find_reason(tune: Tune) -> str:
    """Why a cleaned tune cannot be learned, or an empty text."""
    count = sum(1 for note in tune.notes() if note.pitches)
    if not count:
        return NO_NOTES
    if tune.key.mode == "none":
        return NO_KEY
    if any(metre is None for metre in tune.metres()):
        return NO_METRE
    faults = tune.faults()
    if faults:
        return _name_fault(faults[0])
    if count < FEWEST_NOTES:
        return TOO_SHORT
    return TOO_LONG if count > MOST_NOTES else ""


def _name_fault(fault: Fault) -> str:
    """The fault without its figures, so that faults of one kind are counted together."""
    return BARS_DO_NOT_ADD_UP if fault.message.startswith("bar of") else fault.message


def _without_graces(tune: Tune) -> Tune:
    if not any(note.graces for note in tune.notes()):
        return tune
    return _map_notes(tune, lambda note: replace(note, graces=()) if note.graces else note)


def _without_symbols(tune: Tune) -> Tune:
    if not any(note.symbol for note in tune.notes()):
        return tune
    return _map_notes(tune, lambda note: replace(note, symbol="") if note.symbol else note)


def _map_notes(tune: Tune, change: Callable[[Note], Note]) -> Tune:
    return replace(tune, bars=tuple(replace(bar, notes=tuple(map(change, bar.notes))) for bar in tune.bars))


def _without_parts(tune: Tune) -> Tune:
    """A part's label may allow an upbeat before it: the double bar that takes its place allows it too."""
    if not tune.parts and not any(bar.part for bar in tune.bars):
        return tune
    following = (*tune.bars[1:], Bar(()))
    bars = tuple(
        replace(bar, part="", double=bar.double or bool(after.part and not bar.closes))
        for bar, after in zip(tune.bars, following, strict=True)
    )
    return replace(tune, bars=bars, parts=())


def _without_explicit_accidentals(tune: Tune) -> Tune:
    bars = tuple(
        replace(bar, key=bar.key._replace(explicit=())) if bar.key is not None and bar.key.explicit else bar
        for bar in tune.bars
    )
    return replace(tune, key=tune.key._replace(explicit=()), bars=bars)


def _without_loose_ties(tune: Tune) -> Tune:
    """A tie must sound on: excerpts end in open ones, and slips of the pen lead into a rest or another pitch."""
    if not any(note.ties for note in tune.notes()):
        return tune
    notes = list(tune.notes())
    following = [*(note.pitches for note in notes[1:]), ()]
    kept = iter([_tied_only_to(note, pitches) for note, pitches in zip(notes, following, strict=True)])
    return replace(tune, bars=tuple(replace(bar, notes=tuple(next(kept) for _ in bar.notes)) for bar in tune.bars))


def _tied_only_to(note: Note, following: tuple[Pitch, ...]) -> Note:
    numbers = {pitch.midi for pitch in following}
    ties = tuple(pitch for pitch in note.ties if pitch.midi in numbers)
    return note if ties == note.ties else replace(note, ties=ties)


def _without_idle_changes(tune: Tune) -> Tune:
    """Changes of key or metre to the key or metre that holds already go, a change to "no key" too."""
    key, metre, bars = tune.key, tune.metre, []
    for bar in tune.bars:
        if bar.key is not None and (bar.key == key or bar.key.mode == "none"):
            bar = replace(bar, key=None)
        if bar.metre is not None and bar.metre == metre:
            bar = replace(bar, metre=None)
        key, metre = bar.key or key, bar.metre or metre
        bars.append(bar)
    return replace(tune, bars=tuple(bars))
