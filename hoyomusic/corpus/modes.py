"""The mode of a tune by its notes: for sources whose key field names the key note but no mode.

The Essen collection's code has a key note only, so that its ABC says "major" for nearly all tunes and
writes the minor ones with accidentals. The rule looks at how long each degree above the key note
sounds and at nothing else.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from hoyomusic.tune import Key, Tune

# A degree that sounds for less than this share of the time is an ornament, not part of the scale.
LEAST_SHARE = Fraction(1, 100)

# Signatures have at most seven sharps or flats.
MOST_FIFTHS = 7


def degree_shares(tune: Tune, key: Key) -> list[Fraction]:
    """The share of sounding time of each semitone above the tonic of `key`: 12 fractions.

    The highest note of a chord counts. They sum to 1; all are 0 where the tune has no notes.
    """
    tonic = key.tonic_pitch.midi
    shares = [Fraction(0)] * 12
    for note in tune.notes():
        if note.pitches:
            shares[(note.top.midi - tonic) % 12] += note.length
    total = sum(shares)
    return [share / total for share in shares] if total else shares


def infer_mode(tune: Tune, key: Key) -> str | None:
    """The mode of `tune` on the tonic of `key`, as `Tune` names modes; None where no third decides.

    The larger third makes it major or minor. A major tune is mixolydian by its minor seventh, else
    lydian by its augmented fourth; a minor one is phrygian by its minor second, else dorian by its
    major sixth. Five-note and harmonic scales are written as the major or minor that they belong to.
    """
    shares = [share if share >= LEAST_SHARE else Fraction(0) for share in degree_shares(tune, key)]
    if not shares[3] and not shares[4]:
        return None
    if shares[4] >= shares[3]:
        if shares[10] > shares[11]:
            return "mixolydian"
        return "lydian" if shares[6] > shares[5] else "major"
    if shares[1] > shares[2]:
        return "phrygian"
    # A raised seventh tells harmonic or melodic minor, where the sixth may be raised as well.
    return "dorian" if shares[9] > shares[8] and shares[10] >= shares[11] else "minor"


def with_inferred_mode(tune: Tune) -> Tune:
    """The tune with the mode of its notes in its key; pitches and their spelling stay as they are.

    The key stays too where no mode can be told, or where its signature would need eight flats.
    """
    named = _with_mode(tune.key, infer_mode(tune, tune.key))
    return tune if named is None else replace(tune, key=named)


def with_inferred_key(tune: Tune) -> Tune | None:
    """A tune without a key, given one: the last note is the tonic, the notes tell the mode.

    None where there are no notes, no third, or a last note that no signature has as its tonic.
    """
    tops = [note.top for note in tune.notes() if note.pitches]
    if not tops or abs(tops[-1].accidental) > 1:
        return None
    key = Key(tops[-1].letter, tops[-1].accidental)
    named = _with_mode(key, infer_mode(tune, key))
    return None if named is None else replace(tune, key=named)


def _with_mode(key: Key, mode: str | None) -> Key | None:
    if mode is None:
        return None
    named = key._replace(mode=mode)
    return named if abs(named.fifths) <= MOST_FIFTHS else None
