"""`Vocabulary`: a tune as a sequence of ids and back, without loss, in a closed list of tokens.

A tune is written as ``<s>``, its key, metre and number of bars, then its bars, then ``</s>``::

    <s> tonic:D mode:major metre:6/8 bars:16 |: upbeat:1/8 5,@1/8 | 1@1/4 3@1/8 ... :| ... |] </s>

Pitches are relative to the key: a degree of its scale, raised or lowered, so that a transposed tune is
the same sequence but for one token. Lengths are fractions of a whole note. The nation is no token: it
is an input of the model, so that one and the same road serves conditioning, dropping and guidance.

A note of a common length is one token (``5,@1/8``); a rare one is two (``length:5/8``, ``pitch:5,``).
That is the layout ``fused``; ``split`` always writes two, and ``sticky`` writes the length only where it
changes. Which is best was measured: `benchmarks/granularity.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import cached_property

from hoyomusic.errors import VocabularyError
from hoyomusic.tune import Bar, Key, Metre, Note, Pitch, Tune
from hoyomusic.vocab.decoding import Decoder
from hoyomusic.vocab.tokens import ALTERATIONS, MOST_BARS, Kind, Relative, list_names, name_relative, parse_token

VERSION = 1
LAYOUTS = ("fused", "sticky", "split")


class Vocabulary:
    """A closed, ordered, versioned list of tokens; equal lists mean equal ids.

    Raises VocabularyError where a tune has no ids (`encode`) or ids are no tune (`decode`).
    """

    def __init__(self, tokens: Sequence[str], layout: str = "fused") -> None:
        if layout not in LAYOUTS:
            raise VocabularyError(f"there is no layout {layout!r}", remedy=f"choose one of {', '.join(LAYOUTS)}")
        self.names = tuple(tokens)
        self.layout = layout
        self.ids = {name: index for index, name in enumerate(self.names)}
        if len(self.ids) != len(self.names):
            raise VocabularyError("a token stands twice in the vocabulary")
        self.tokens = tuple(map(parse_token, self.names))
        for required in ("<s>", "</s>", "<boundary>", "|"):
            if required not in self.ids:
                raise VocabularyError(f"the vocabulary lacks {required}")
        self._relative: dict[tuple[Key, Pitch], Relative] = {}

    @classmethod
    def build(cls, layout: str = "fused") -> Vocabulary:
        """The vocabulary of this version, by rule and not from data, so that it fits any corpus."""
        return cls(list_names(layout), layout)

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and (self.names, self.layout) == (other.names, other.layout)

    def __hash__(self) -> int:
        return hash((self.names, self.layout))

    def to_dict(self) -> dict[str, object]:
        """The vocabulary as plain data, for a checkpoint."""
        return {"version": VERSION, "layout": self.layout, "tokens": list(self.names)}

    @classmethod
    def from_dict(cls, data: dict) -> Vocabulary:
        """The vocabulary that `to_dict` wrote; raises VocabularyError for a version that is not ours.

        The tokens of a version are known: a list with others is damaged, or made to lead astray.
        """
        if data.get("version") != VERSION:
            raise VocabularyError(
                f"vocabulary of version {data.get('version')}, this program reads {VERSION}",
                remedy="use the program that made the model, or train again",
            )
        layout = data.get("layout")
        if layout in LAYOUTS and data.get("tokens") != list_names(layout):
            raise VocabularyError(
                f"a vocabulary with other tokens than those of version {VERSION}", remedy="use another model"
            )
        return cls(data["tokens"], layout)

    # ------------------------------------------------------------------ tune -> ids

    def encode(self, tune: Tune) -> list[int]:
        """The ids of a tune, ``<s>`` to ``</s>``. Texts, graces, chord symbols and part names have none.

        Raises VocabularyError, naming what cannot be said, so that nothing is bent in silence.
        """
        if tune.metre is None:
            raise VocabularyError("free metre")
        if tune.parts or any(bar.part for bar in tune.bars):
            raise VocabularyError("a play order of parts")
        ids = [self.ids["<s>"], *self._key_ids(tune.key), self._metre_id(tune.metre)]
        ids.append(self.bars_id(count_bars(tune)))
        key, sounding = tune.key, None
        upbeats = find_upbeats(tune)
        for index, bar in enumerate(tune.bars):
            if bar.opens:
                ids.append(self.ids["|:"])
            if bar.ending:
                ids.append(self._id(f"ending:{','.join(map(str, bar.ending))}", "the ending"))
            if bar.metre is not None:
                ids.append(self._metre_id(bar.metre))
            if bar.key is not None:
                key = bar.key
                ids += self._key_ids(key)
            if upbeats[index]:
                ids.append(self._id(f"upbeat:{bar.length}", "an upbeat of"))
            for note in bar.notes:
                sounding = self._encode_note(note, key, sounding, ids)
            ids.append(self._bar_end_id(bar, last=index == len(tune.bars) - 1))
        ids.append(self.ids["</s>"])
        return ids

    def _id(self, name: str, what: str) -> int:
        found = self.ids.get(name)
        if found is None:
            raise VocabularyError(f"{what} {name.split(':', 1)[-1]} has no token")
        return found

    def _key_ids(self, key: Key) -> tuple[int, int]:
        if key.explicit:
            raise VocabularyError("a key with accidentals of its own")
        return self._id(f"tonic:{key.tonic}", "the key note"), self._id(f"mode:{key.mode}", "the mode")

    def _metre_id(self, metre: Metre) -> int:
        if metre.groups:
            raise VocabularyError("a metre with grouping")
        return self._id(f"metre:{metre}", "the metre")

    def bars_id(self, count: int) -> int:
        """The header token for a tune of `count` bars, upbeats not counted."""
        return self.ids[f"bars:{count}" if 1 <= count <= MOST_BARS else "bars:more"]

    def _bar_end_id(self, bar: Bar, last: bool) -> int:
        if bar.closes:
            return self._id({2: ":|", 3: "::|"}.get(bar.closes, f"a repeat played {bar.closes} times"), "the sign")
        if last:
            return self.ids["|]"]
        return self.ids["||" if bar.double else "|"]

    def _encode_note(self, note: Note, key: Key, sounding: Fraction | None, ids: list[int]) -> Fraction:
        """Append a note's tokens; returns the length that is in force behind it (layout ``sticky``)."""
        if note.graces or note.symbol:
            raise VocabularyError("grace notes or chord symbols")
        if note.ties and note.ties != note.pitches:
            raise VocabularyError("a chord of which only a part is tied")
        names = [name_relative(self.relative(key, pitch)) for pitch in note.pitches] or ["z"]
        fused = self.ids.get(f"{names[0]}@{note.length}")
        if fused is not None:
            ids.append(fused)
        else:
            if self.layout != "sticky" or note.length != sounding:
                ids.append(self._id(f"length:{note.length}", "the length"))
            ids.append(self._id(f"pitch:{names[0]}", "the pitch"))
        for name in names[1:]:
            ids += (self.ids["join"], self._id(f"pitch:{name}", "the pitch"))
        if note.ties:
            ids.append(self.ids["tie"])
        return note.length

    def relative(self, key: Key, pitch: Pitch) -> Relative:
        """A pitch as scale steps from the tonic and an alteration against the scale of the key."""
        found = self._relative.get((key, pitch))
        if found is None:
            alteration = pitch.accidental - key.signature.get(pitch.letter, 0)
            if alteration not in ALTERATIONS:
                raise VocabularyError(f"the pitch {pitch} has no token in {key}")
            found = self._relative[key, pitch] = (pitch.diatonic - key.tonic_pitch.diatonic, alteration)
        return found

    # ------------------------------------------------------------------ ids -> tune

    def decode(self, ids: Iterable[int]) -> Tune:
        """The tune of a sequence of ids, with or without its ``</s>``; the inverse of `encode`.

        Raises VocabularyError where the ids are no tune.
        """
        return Decoder(self.tokens, self.names).decode(ids)

    @cached_property
    def pitches(self) -> tuple[tuple[int, int], ...]:
        """The relative pitches that have a token of their own, in the order of their ids."""
        kind = Kind.PITCH
        return tuple(token.value for token in self.tokens if token.kind == kind and token.value is not None)

    @cached_property
    def note_ids(self) -> frozenset[int]:
        """The ids that start a note or rest: one of them is one note of the tune."""
        return frozenset(index for index, token in enumerate(self.tokens) if token.kind in (Kind.NOTE, Kind.PITCH))

    def count_notes(self, ids: Sequence[int]) -> int:
        """Notes and rests in a sequence; a chord counts once."""
        join = self.ids["join"]
        return sum(
            1 for before, this in zip([None, *ids], ids, strict=False) if this in self.note_ids and before != join
        )


def find_upbeats(tune: Tune) -> list[bool]:
    """Which bars are upbeats: short bars at a section's start that do not end the section as well.

    Bars behind an ending's number are no upbeats: they go on from the bar before them.
    """
    starts, ends = tune.section_edges()
    metres = tune.metres()
    return [
        starts[index]
        and not ends[index]
        and not bar.ending
        and metres[index] is not None
        and bar.length < metres[index].length
        for index, bar in enumerate(tune.bars)
    ]


def count_bars(tune: Tune) -> int:
    """Written bars as a musician counts them: upbeats are not counted."""
    return len(tune.bars) - sum(find_upbeats(tune))
