"""The music of one tune as exact data: spelled pitches, exact lengths, bars, repeats as structure.

A `Tune` is a value: immutable, hashable, compared by its music alone. Texts (title, origin, tempo
and the like) live in its `header` and take no part in `==`, because two tunes with the same notes
are the same music. All lengths and onsets are `Fraction`s of a whole note: a crotchet is 1/4.

>>> a = Note((Pitch("A", 0, 4),), Fraction(1, 4))
>>> tune = Tune(Key("D"), Metre(4, 4), (Bar((a, a, a, a)),))
>>> tune.faults()
[]
>>> tune.transposed_to("G").bars[0].notes[0].pitches[0]
Pitch(letter='D', accidental=0, octave=5)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import NamedTuple

from hoyomusic.errors import TuneError

LETTERS = "CDEFGAB"
NATURAL_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
ACCIDENTAL_NAMES = {-2: "bb", -1: "b", 0: "", 1: "#", 2: "##"}

# The order in which sharps enter a signature; flats enter in the reverse order.
SHARP_ORDER = "FCGDAEB"

# Fifths that a mode adds to the signature of its tonic (ABC 2.1, section 3.1.14).
MODE_FIFTHS = {
    "lydian": 1,
    "major": 0,
    "mixolydian": -1,
    "dorian": -2,
    "minor": -3,
    "phrygian": -4,
    "locrian": -5,
    "none": 0,
}

# More plays than any printed tune asks for; beyond it a file is a mistake or an attack.
MAXIMUM_PLAYED_BARS = 100_000


class Pitch(NamedTuple):
    """One spelled pitch: letter, accidental (-2 double flat ... 2 double sharp), octave (C4 = MIDI 60).

    >>> Pitch("B", -1, 3).midi, Pitch("A", 1, 3).midi, str(Pitch("F", 1, 5))
    (58, 58, 'F#5')
    """

    letter: str
    accidental: int
    octave: int

    @property
    def midi(self) -> int:
        """The MIDI note number; B#3 is 60, Cb4 is 59."""
        return 12 * (self.octave + 1) + NATURAL_SEMITONES[self.letter] + self.accidental

    @property
    def diatonic(self) -> int:
        """Letter steps above C0: the height on the staff, blind to accidentals."""
        return 7 * self.octave + LETTERS.index(self.letter)

    def transposed(self, steps: int, semitones: int) -> Pitch:
        """This pitch moved by `steps` letters and `semitones`, respelled if it would need three accidentals."""
        octave, letter = divmod(self.diatonic + steps, 7)
        target = self.midi + semitones
        moved = Pitch(LETTERS[letter], 0, octave)
        accidental = target - moved.midi
        if abs(accidental) <= 2:
            return moved._replace(accidental=accidental)
        return Pitch.from_midi(target)

    @staticmethod
    def from_midi(number: int) -> Pitch:
        """The plainest spelling of a MIDI note number: naturals, else sharps."""
        octave, semitone = divmod(number, 12)
        letter = max((name for name in LETTERS if NATURAL_SEMITONES[name] <= semitone), key=NATURAL_SEMITONES.get)
        return Pitch(letter, semitone - NATURAL_SEMITONES[letter], octave - 1)

    def __str__(self) -> str:
        return f"{self.letter}{ACCIDENTAL_NAMES[self.accidental]}{self.octave}"


class Key(NamedTuple):
    """A tonic and a mode, and accidentals that the source adds to or puts in place of the signature.

    `explicit` are (letter, accidental) pairs that override the mode's signature in all octaves
    (`K:Ador ^g`); mode ``none`` has no signature of its own (`K:none`, `K:D exp _b`).

    >>> Key("D", 0, "dorian").signature, str(Key("B", -1, "major"))
    ({}, 'Bb major')
    >>> Key("A", 0, "mixolydian").signature
    {'F': 1, 'C': 1}
    """

    letter: str
    accidental: int = 0
    mode: str = "major"
    explicit: tuple[tuple[str, int], ...] = ()

    @property
    def fifths(self) -> int:
        """Sharps (positive) or flats (negative) of the mode's own signature."""
        if self.mode == "none":
            return 0
        return SHARP_ORDER.index(self.letter) - 1 + 7 * self.accidental + MODE_FIFTHS[self.mode]

    @property
    def signature(self) -> dict[str, int]:
        """Letter -> accidental for each letter that the signature alters."""
        fifths = self.fifths
        order = SHARP_ORDER if fifths > 0 else SHARP_ORDER[::-1]
        altered: dict[str, int] = {}
        for index in range(abs(fifths)):
            letter = order[index % 7]
            altered[letter] = altered.get(letter, 0) + (1 if fifths > 0 else -1)
        altered.update(self.explicit)
        return {letter: accidental for letter, accidental in altered.items() if accidental}

    @property
    def tonic(self) -> str:
        """The tonic's name: ``"Bb"``."""
        return self.letter + ACCIDENTAL_NAMES[self.accidental]

    @property
    def tonic_pitch(self) -> Pitch:
        """The tonic in the octave from C4 (MIDI 60) upward, from which scale degrees are counted."""
        return Pitch(self.letter, self.accidental, 4)

    def __str__(self) -> str:
        return "no key" if self.mode == "none" else f"{self.tonic} {self.mode}"


class Metre(NamedTuple):
    """A time signature: beats of 1/`unit`, with the grouping where the source gives one (2+3/8).

    >>> Metre(6, 8).length, Metre(6, 8).compound, Metre(5, 8, (2, 3))
    (Fraction(3, 4), True, Metre(beats=5, unit=8, groups=(2, 3)))
    """

    beats: int
    unit: int
    groups: tuple[int, ...] = ()

    @property
    def length(self) -> Fraction:
        """One bar, as a fraction of a whole note."""
        return Fraction(self.beats, self.unit)

    @property
    def compound(self) -> bool:
        """Whether three units make a beat: 6/8, 9/8, 12/8 (ABC 2.1, section 4.13)."""
        return self.beats in (6, 9, 12) and self.unit >= 8 and not self.groups

    @property
    def beat(self) -> Fraction:
        """The felt beat: a dotted crotchet in 6/8, a minim in 2/2, the written unit in 3/4."""
        return Fraction(3, self.unit) if self.compound else Fraction(1, self.unit)

    def __str__(self) -> str:
        return f"{'+'.join(map(str, self.groups)) if self.groups else self.beats}/{self.unit}"


class Tempo(NamedTuple):
    """`bpm` times `beat` (a fraction of a whole note) in a minute; `text` is the word beside it."""

    beat: Fraction
    bpm: int
    text: str = ""

    @property
    def quarters_per_minute(self) -> Fraction:
        """The speed in crotchets a minute."""
        return self.bpm * self.beat * 4


@dataclass(frozen=True, slots=True)
class Note:
    """A note, a chord (several pitches, lowest first) or a rest (no pitch).

    `ties` are those of its pitches that sound on into the next note. `graces` are the grace notes
    before it, which take no time; `symbol` is a chord symbol written above it (``"Am7"``).
    """

    pitches: tuple[Pitch, ...]
    length: Fraction
    ties: tuple[Pitch, ...] = ()
    graces: tuple[Pitch, ...] = ()
    symbol: str = ""

    @property
    def top(self) -> Pitch:
        """The melody's pitch: the highest of a chord."""
        return self.pitches[-1]

    def with_pitches_mapped(self, change) -> Note:
        """The same note with every pitch replaced by ``change(pitch)``."""
        return replace(
            self,
            pitches=tuple(sorted(map(change, self.pitches), key=height)),
            ties=tuple(sorted(map(change, self.ties), key=height)),
            graces=tuple(map(change, self.graces)),
        )


def height(pitch: Pitch) -> tuple[int, int]:
    """Sorting key of the pitches of a chord: by sound, then by staff position."""
    return pitch.midi, pitch.diatonic


@dataclass(frozen=True, slots=True)
class Bar:
    """The notes between two bar lines, and what those lines say.

    `opens`: a repeat starts here (``|:``). `closes`: how often the section that ends here is played
    (0: no repeat sign, 2: ``:|``, 3: ``::|``). `ending`: numbers of the ending that starts here
    (``|1``). `double`: a double bar line follows. `metre`, `key`: changes that hold from this bar on.
    `part`: the label of the part that starts here (ABC ``P:``).
    """

    notes: tuple[Note, ...]
    opens: bool = False
    closes: int = 0
    ending: tuple[int, ...] = ()
    double: bool = False
    metre: Metre | None = None
    key: Key | None = None
    part: str = ""

    @property
    def length(self) -> Fraction:
        """The sum of its notes' lengths, as a fraction of a whole note."""
        return sum((note.length for note in self.notes), Fraction(0))


@dataclass(frozen=True, slots=True)
class Header:
    """What a source says about a tune besides its music; no part of a tune's identity."""

    number: int = 1
    title: str = ""
    composer: str = ""
    origin: str = ""
    rhythm: str = ""
    source: str = ""
    notes: str = ""
    transcription: str = ""
    region: str = ""
    tempo: Tempo | None = None


class Ending(NamedTuple):
    """The bars from `start` to `stop` that are played only in the turns `numbers` (from 1) of a section."""

    numbers: tuple[int, ...]
    start: int
    stop: int


class Section(NamedTuple):
    """The bars from `start` to `stop`, played `plays` times: a body up to `body_stop`, then perhaps endings."""

    start: int
    body_stop: int
    endings: tuple[Ending, ...]
    stop: int
    plays: int


class Fault(NamedTuple):
    """One thing that does not hold: the bar's index (from 0) and a sentence about it."""

    bar: int
    message: str


@dataclass(frozen=True, slots=True)
class Tune:
    """One tune: key, metre (None: free), bars, the order in which its parts are played, and a header.

    `parts` is the play order of part labels (``("A", "A", "B")``, ABC header ``P:``); empty: as written.
    """

    key: Key
    metre: Metre | None
    bars: tuple[Bar, ...]
    parts: tuple[str, ...] = ()
    header: Header = field(default=Header(), compare=False)

    def notes(self) -> Iterator[Note]:
        """Every written note and rest in order, repeats not expanded."""
        for bar in self.bars:
            yield from bar.notes

    def metres(self) -> list[Metre | None]:
        """The metre that holds in each bar."""
        metre, found = self.metre, []
        for bar in self.bars:
            metre = bar.metre or metre
            found.append(metre)
        return found

    def keys(self) -> list[Key]:
        """The key that holds in each bar."""
        key, found = self.key, []
        for bar in self.bars:
            key = bar.key or key
            found.append(key)
        return found

    # ------------------------------------------------------------------ form

    def section_edges(self) -> tuple[list[bool], list[bool]]:
        """For each bar, whether a section may start there and whether one may end there.

        Sections meet at the tune's edges, at repeat signs, endings, double bars and part labels;
        there, and only there, a short bar is an upbeat or its complement.
        """
        count = len(self.bars)
        starts, ends = [False] * count, [False] * count
        for index, bar in enumerate(self.bars):
            if bar.opens or bar.ending or bar.part or index == 0:
                starts[index] = True
                if index:
                    ends[index - 1] = True
            if bar.closes or bar.double or index == count - 1:
                ends[index] = True
                if index + 1 < count:
                    starts[index + 1] = True
        return starts, ends

    def sections(self, start: int = 0, stop: int | None = None) -> list[Section]:
        """The bars from `start` to `stop` cut into stretches that are each repeated as one, in order.

        A section begins at ``|:`` (`opens`), at the tune's start, or behind a repeat that has ended.
        """
        bars, stop, found = self.bars, len(self.bars) if stop is None else stop, []
        while start < stop:
            index, closes = start, 0
            while index < stop and not (closes or bars[index].ending or (bars[index].opens and index > start)):
                closes = bars[index].closes
                index += 1
            body_stop, plays, endings = index, max(closes, 1), []
            while not closes and index < stop and bars[index].ending and not (bars[index].opens and index > start):
                first, index = index, index + 1
                while index < stop and not (
                    bars[index - 1].closes or bars[index - 1].double or bars[index].ending or bars[index].opens
                ):
                    index += 1
                endings.append(Ending(bars[first].ending, first, index))
                plays = max(plays, bars[index - 1].closes, *bars[first].ending)
            found.append(Section(start, body_stop, tuple(endings), index, plays))
            start = index
        return found

    def play_order(self) -> list[int]:
        """The indices of the bars in the order in which they sound: repeats, endings and parts played.

        A section with endings is played as often as its largest ending number says. A part is played
        with its repeats each time. Bars before the first part label are played first, once.
        Raises TuneError where repeats or parts would make the tune last more than `MAXIMUM_PLAYED_BARS`.
        """
        if not self.parts:
            return self._played(0, len(self.bars))
        spans: dict[str, tuple[int, int]] = {}
        marks = [(index, bar.part) for index, bar in enumerate(self.bars) if bar.part]
        for (start, label), (stop, _) in zip(marks, marks[1:] + [(len(self.bars), "")], strict=True):
            spans.setdefault(label, (start, stop))
        order = self._played(0, marks[0][0]) if marks else []
        played: dict[str, list[int]] = {}
        for label in self.parts:
            if label not in spans:
                raise TuneError(f"the play order names part {label}, which the tune does not have")
            if label not in played:
                played[label] = self._played(*spans[label])
            order += played[label]
            if len(order) > self._longest:
                raise TuneError(f"its parts would play more than {MAXIMUM_PLAYED_BARS} bars")
        return order

    @property
    def _longest(self) -> int:
        """The bound on played bars; a tune without repeats may be as long as it is written."""
        return max(MAXIMUM_PLAYED_BARS, len(self.bars))

    def _played(self, start: int, stop: int) -> list[int]:
        order: list[int] = []
        for section in self.sections(start, stop):
            length = section.plays * max(1, section.body_stop - section.start)
            length += sum(len(ending.numbers) * (ending.stop - ending.start) for ending in section.endings)
            if section.plays > 1 and len(order) + length > self._longest:
                raise TuneError(f"its repeats would play more than {MAXIMUM_PLAYED_BARS} bars")
            turns: dict[int, list[Ending]] = {}
            for ending in section.endings:
                for number in ending.numbers:
                    turns.setdefault(number, []).append(ending)
            for turn in range(1, section.plays + 1):
                order.extend(range(section.start, section.body_stop))
                for ending in turns.get(turn, ()):
                    order.extend(range(ending.start, ending.stop))
        return order

    def followers(self) -> list[list[int]]:
        """For each bar, those that may sound next: the next one as written, and where a repeat leads.

        This is where a tie may lead; the order of parts is not looked at.
        """
        count = len(self.bars)
        found = [[index + 1] if index + 1 < count else [] for index in range(count)]
        for section in self.sections():
            if section.plays == 1:
                continue
            if not section.endings:
                found[section.stop - 1].append(section.start)
                continue
            if section.body_stop > section.start:
                found[section.body_stop - 1] = [ending.start for ending in section.endings]
            for ending in section.endings:
                found[ending.stop - 1].append(section.start)
                if ending.stop < section.stop < count:
                    found[ending.stop - 1].append(section.stop)
        return found

    # ------------------------------------------------------------------ checks

    def faults(self) -> list[Fault]:
        """What does not add up; an empty list means that the tune is sound.

        A bar must fill its metre; a shorter one is allowed only at a section's edge, where it is an
        upbeat or its complement. Free metre allows any bar. Ties must lead to the same pitch,
        pitches must be MIDI notes, repeats must pair.
        """
        found: list[Fault] = []
        starts, ends = self.section_edges()
        metres = self.metres()
        if not any(note.pitches for note in self.notes()):
            found.append(Fault(0, "the tune has no notes"))
        for index, bar in enumerate(self.bars):
            metre, length = metres[index], bar.length
            if metre is not None and length != metre.length:
                if length > metre.length:
                    found.append(Fault(index, f"bar of {length} in {metre}"))
                elif not (starts[index] or ends[index]):
                    found.append(Fault(index, f"bar of only {length} in {metre}"))
            for note in bar.notes:
                if note.length <= 0:
                    found.append(Fault(index, f"length {note.length}"))
                if any(not 0 <= pitch.midi <= 127 for pitch in note.pitches):
                    found.append(Fault(index, "a pitch outside MIDI"))
        found += self._tie_faults() + self._repeat_faults()
        return sorted(found)

    def _tie_faults(self) -> list[Fault]:
        return [Fault(bar, "a tie that leads nowhere") for bar, note, ties in self.tie_targets() if ties != note.ties]

    def tie_targets(self) -> list[tuple[int, Note, tuple[Pitch, ...]]]:
        """Every tied note as (index of its bar, the note, those of its ties that may lead to the same sound)."""
        if not any(note.ties for note in self.notes()):
            return []
        found, followers = [], self.followers()
        for index, bar in enumerate(self.bars):
            for position, note in enumerate(bar.notes):
                if not note.ties:
                    continue
                if position + 1 < len(bar.notes):
                    following = [bar.notes[position + 1]]
                else:
                    following = [self.bars[later].notes[0] for later in followers[index] if self.bars[later].notes]
                sounds = {pitch.midi for later in following for pitch in later.pitches}
                found.append((index, note, tuple(pitch for pitch in note.ties if pitch.midi in sounds)))
        return found

    def _repeat_faults(self) -> list[Fault]:
        found = []
        for section in self.sections():
            opens = self.bars[section.start].opens
            if opens and section.plays == 1:
                found.append(Fault(section.start, "a repeat that is never closed"))
            elif section.plays > 1 and not opens:
                found.append(Fault(section.stop - 1, "a repeat that was never opened"))
        return found

    # ------------------------------------------------------------------ changes

    def transposed(self, steps: int, semitones: int) -> Tune:
        """The tune moved by `steps` letters and `semitones` (a fifth up: 4, 7), its keys with it."""

        def move_key(key: Key) -> Key:
            if key.mode == "none" and not key.explicit:
                return key
            tonic = Pitch(key.letter, key.accidental, 4).transposed(steps, semitones)
            added = [Pitch(letter, accidental, 4).transposed(steps, semitones) for letter, accidental in key.explicit]
            explicit = tuple((pitch.letter, pitch.accidental) for pitch in added)
            return Key(tonic.letter, tonic.accidental, key.mode, explicit)

        def move(note: Note) -> Note:
            return note.with_pitches_mapped(lambda pitch: pitch.transposed(steps, semitones))

        bars = tuple(
            replace(
                bar,
                notes=tuple(map(move, bar.notes)),
                key=None if bar.key is None else move_key(bar.key),
            )
            for bar in self.bars
        )
        return replace(self, key=move_key(self.key), bars=bars)

    def transposed_to(self, tonic: str) -> Tune:
        """The tune with `tonic` (``"Bb"``, ``"F#"``) as its key note, moved by at most half an octave."""
        letter, accidental = parse_tonic(tonic)
        home, goal = self.key.tonic_pitch, Pitch(letter, accidental, 4)
        steps, semitones = goal.diatonic - home.diatonic, goal.midi - home.midi
        if semitones > 6:
            steps, semitones = steps - 7, semitones - 12
        elif semitones < -6:
            steps, semitones = steps + 7, semitones + 12
        return self.transposed(steps, semitones)


def parse_tonic(name: str) -> tuple[str, int]:
    """Letter and accidental of a key note written as ``C``, ``bb``, ``F#`` or ``E flat``.

    >>> parse_tonic("bb"), parse_tonic("F#")
    (('B', -1), ('F', 1))

    Raises TuneError for anything else.
    """
    text = name.strip().replace("♯", "#").replace("♭", "b").replace(" flat", "b").replace(" sharp", "#")
    letter, accidental = text[:1].upper(), {"": 0, "#": 1, "b": -1}.get(text[1:])
    if letter not in NATURAL_SEMITONES or accidental is None:
        raise TuneError(f"{name!r} is no key note", remedy="write one of C, C#, Db, D ... B")
    return letter, accidental
