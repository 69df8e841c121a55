"""The music of one tune while it is read: notes, bars and bar signs, with all that is in force for the next note."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from hoyomusic.abc.fields import NO_KEY, read_key, read_length, read_metre
from hoyomusic.abc.repeats import MAXIMUM_PLAYS, Form, Sign
from hoyomusic.abc.scanner import (
    IN_CHORD,
    MAXIMUM_DIGITS,
    SYMBOL,
    NoteSymbol,
    make_length,
    make_pitch,
    read_chord_symbol,
    read_endings,
    read_multiple,
    read_note,
)
from hoyomusic.errors import AbcError
from hoyomusic.tune import MAXIMUM_PLAYED_BARS, Bar, Key, Metre, Note, Pitch, height

MAXIMUM_TUPLET_NUMBER = 99
MAXIMUM_TOGETHER = 32  # notes of a chord, grace notes before a note
_DEFAULT_Q = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}  # notes in the time of how many (ABC 2.1, section 4.13)


@dataclass(slots=True)
class Place:
    """Where in the text reading is (from 1 and from 0), and the first place of each thing to tell."""

    line: int
    column: int = 0
    found: dict[str, tuple[int, int]] = field(default_factory=dict)

    def notice(self, message: str) -> None:
        """Remember this place for `message` unless an earlier one is known."""
        self.found.setdefault(message, (self.line, self.column + 1))


@dataclass(slots=True)
class OpenBar:
    """A bar while it is read; a note is [pitches, numerator, denominator, ties, graces, symbol]."""

    sign: Sign = field(default_factory=Sign)
    notes: list[list] = field(default_factory=list)
    key: Key = NO_KEY
    metre: Metre | None = None
    part: str = ""


class Music:
    """The bars read so far, and the state that gives the next symbol its meaning.

    `inline_field` is called for a field in brackets with its letter and value.
    """

    def __init__(self, place: Place, inline_field: Callable[[str, str], None]) -> None:
        self.place = place
        self.inline_field = inline_field
        self.bars: list[OpenBar] = []
        self.bar = OpenBar()
        self.key, self.metre = NO_KEY, None
        self.unit: tuple[int, int] | None = None
        self.octaves = 0  # by which notes sound higher than written
        self.signature: dict[str, int] = {}
        self.held: dict = {}  # accidentals in force, by letter, or where the scope is octave by (letter, octave)
        self.scope = "pitch"  # how far an accidental reaches: all octaves, its own octave, or nowhere
        self.first_voice: str | None = None
        self.melody: str | None = None  # the voice that is kept
        self.skipping = ""  # "voice" or "overlay" while its notes are left out
        self.last: list | None = None  # the last note, which > and - may still change
        self.factor = (1, 1)  # what > leaves for the next note
        self.tuplet = (1, 1)
        self.tuplet_left = 0
        self.open_ties: tuple[Pitch, ...] = ()
        self.graces: tuple[Pitch, ...] = ()
        self.symbol = ""
        self.part = ""
        self.named_endings = 0
        self.rest_bars = 0
        self.count = 0  # notes and rests read so far

    @property
    def begun(self) -> bool:
        """Whether there is a note yet."""
        return bool(self.bars or self.bar.notes)

    # ------------------------------------------------------------------ fields

    def set_key(self, value: str) -> None:
        """Let a ``K:`` field take effect; a new key ends the accidentals of the bar."""
        reading = read_key(value)
        if reading.notice:
            self.place.notice(reading.notice)
        self.octaves = reading.octaves
        if reading.key is not None:
            self.key = reading.key
        if reading.key is not None or not self.signature:
            self.signature = dict.fromkeys("CDEFGAB", 0) | self.key.signature
            self.held = self.signature.copy()

    def set_metre(self, value: str) -> None:
        """Let an ``M:`` field take effect, from the next bar on."""
        metre, notice = read_metre(value)
        if notice:
            self.place.notice(notice)
        if metre is None and self.begun:
            self.place.notice("change to free metre")
        else:
            self.metre = metre

    def set_unit(self, value: str) -> None:
        """Let an ``L:`` field take effect."""
        self.unit = read_length(value)

    def set_scope(self, value: str) -> None:
        """Obey ``propagate-accidentals`` (ABC 2.1, section 11.3)."""
        if value.strip() in ("pitch", "octave", "not"):
            self.scope = value.strip()

    def declare_voice(self, value: str) -> None:
        """Take the first ``V:`` of all as the voice of music that no ``V:`` precedes."""
        self.first_voice = self.first_voice or next(iter(value.split()), None)

    def set_voice(self, value: str) -> None:
        """Go on with a voice: the melody is the first that has notes."""
        self.declare_voice(value)
        voice = next(iter(value.split()), self.first_voice)
        if not self.begun:
            self.melody = voice
        else:
            self.skipping = "" if voice == (self.melody or self.first_voice) else "voice"

    def start_part(self, label: str) -> None:
        """Let the part `label` begin with the next note, in a bar of its own."""
        if self.bar.notes:
            self._end_bar()
        self.part = label

    # ------------------------------------------------------------------ symbols

    def read_line(self, line: str) -> None:
        """Read one line of music; raises AbcError, with `place` where it belongs."""
        handlers = self._HANDLERS
        for match in SYMBOL.finditer(line):
            kind = match.lastgroup
            if kind is None:
                continue
            self.place.column = match.start()
            if self.skipping and not (kind == "inline" or (kind == "bar" and self.skipping == "overlay")):
                if self.skipping == "voice":
                    self.place.notice("second voice")
                continue
            if kind == "note":
                self._note(match[0])
            else:
                handlers[kind](self, match[0])

    def _note(self, text: str) -> None:
        symbol = read_note(text)
        pitch = self._sounding(symbol, self.open_ties)
        self._append((pitch,), symbol.numerator, symbol.denominator, (pitch,) if symbol.tied else ())

    def _sounding(self, symbol: NoteSymbol, ties: tuple[Pitch, ...] = ()) -> Pitch:
        """The pitch that a note stands for here; an accidental holds to the bar line, in all octaves."""
        accidental, letter, octave = symbol[:3]
        octave += self.octaves
        place = letter if self.scope == "pitch" else (letter, octave)
        if accidental is not None:
            if self.scope != "not":
                self.held[place] = accidental
            return make_pitch(letter, accidental, octave)
        for tied in ties:
            if tied.letter == letter and tied.octave == octave:
                return tied
        accidental = self.held.get(place)
        return make_pitch(letter, self.signature[letter] if accidental is None else accidental, octave)

    def _append(self, pitches: tuple[Pitch, ...], numerator: int, denominator: int, ties: tuple[Pitch, ...]) -> None:
        if not self.bar.notes:
            self._start_bar()
        numerator *= self.unit[0] * self.factor[0]
        denominator *= self.unit[1] * self.factor[1]
        self.factor = (1, 1)
        if self.tuplet_left:
            numerator *= self.tuplet[1]
            denominator *= self.tuplet[0]
            self.tuplet_left -= 1
        self.last = [pitches, numerator, denominator, ties, self.graces, self.symbol]
        self.bar.notes.append(self.last)
        self.count += 1
        self.open_ties = ties
        self.graces, self.symbol = (), ""

    def _start_bar(self) -> None:
        bar = self.bar
        bar.key, bar.metre, bar.part = self.key, self.metre, self.part
        self.part = ""

    def _end_bar(self) -> None:
        self.bars.append(self.bar)
        self.bar = OpenBar()

    def _bar_line(self, text: str) -> None:
        self.skipping = ""
        begins = bool(self.bar.notes)
        if begins:
            self._end_bar()
        self.held = self.signature.copy()
        numbers = text.lstrip("|:[]")
        symbols = text[: len(text) - len(numbers)].rstrip("[")
        before = len(symbols) - len(symbols.lstrip(":"))
        behind = len(symbols) - len(symbols.rstrip(":"))
        if before == len(symbols) == 1:
            self.place.notice("colon without a bar line")
            before, behind = (1, 0) if begins else (0, 1)
        elif before == len(symbols):
            before, behind = before - before // 2, before // 2
        elif ":" in symbols.strip(":"):  # [|]:| and |:| stand where :| is meant
            self.place.notice("colon between bar lines")
            before, behind = (max(before, 1), behind) if begins else (before, max(behind, 1))
        if max(before, behind) >= MAXIMUM_PLAYS:
            raise AbcError(f"a repeat of more than {MAXIMUM_PLAYS} plays", remedy="write fewer colons")
        sign = self.bar.sign
        sign.closes = max(sign.closes, before)
        sign.opens = max(sign.opens, behind)
        sign.double |= "||" in symbols or "|]" in symbols or "[|" in symbols
        if numbers:
            sign.ending = read_endings(numbers)
            self.named_endings = sign.ending[-1]

    def _named_ending(self, text: str) -> None:
        self.place.notice("named ending read as a number")
        following = 1 if self.bar.sign.opens or not self.bar.sign.closes else self.named_endings + 1
        self._bar_line(f"[{following}")

    def _rest(self, text: str) -> None:
        if text.endswith("-"):
            self.place.notice("tie into or from a rest")
        self._append((), *read_multiple(text[1:].rstrip("-")), ())

    def _bar_rests(self, text: str) -> None:
        count = text[1:] or "1"
        self.rest_bars += int(count) if len(count) <= MAXIMUM_DIGITS else MAXIMUM_PLAYED_BARS
        if self.rest_bars > MAXIMUM_PLAYED_BARS or not int(count):
            raise AbcError("a rest of too many bars, or of none", remedy="write it as in Z4")
        length = Fraction(1) if self.metre is None else self.metre.length
        length /= Fraction(*self.unit)
        for index in range(int(count)):
            if index:
                self._end_bar()
            self._append((), length.numerator, length.denominator, ())

    def _chord(self, text: str) -> None:
        inner, _, outer = text[1:].rpartition("]")
        all_tied = outer.endswith("-")
        above, below = read_multiple(outer.removesuffix("-"))
        pitches: set[Pitch] = set()
        ties: set[Pitch] = set()
        lengths: list[tuple[int, int]] = []
        for match in IN_CHORD.finditer(inner):
            if match.lastgroup == "note":
                symbol = read_note(match[0])
                pitch = self._sounding(symbol, self.open_ties)
                pitches.add(pitch)
                if symbol.tied or all_tied:
                    ties.add(pitch)
                lengths.append((symbol.numerator, symbol.denominator))
            elif match.lastgroup == "rest":
                self.place.notice("rest inside a chord")
            elif match.lastgroup == "other":
                self.place.column += match.start() + 1
                raise AbcError(f"{match[0]!a} in a chord", remedy="write chords as in [CEG]")
        if not lengths:
            self.place.notice("brackets without notes")
            return
        if len(pitches) > MAXIMUM_TOGETHER:
            raise AbcError(f"a chord of more than {MAXIMUM_TOGETHER} notes", remedy="leave some of them out")
        if len(set(lengths)) > 1:
            self.place.notice("unequal lengths in a chord")
        numerator, denominator = lengths[0]
        self._append(
            tuple(sorted(pitches, key=height)), numerator * above, denominator * below, tuple(sorted(ties, key=height))
        )

    def _grace(self, text: str) -> None:
        graces = []
        for match in IN_CHORD.finditer(text[1:-1].lstrip("/")):
            if match.lastgroup == "note":
                graces.append(self._sounding(read_note(match[0])))
        self.graces += tuple(graces)
        if len(self.graces) > MAXIMUM_TOGETHER:
            raise AbcError(f"more than {MAXIMUM_TOGETHER} grace notes before a note", remedy="write them as notes")

    def _broken(self, text: str) -> None:
        count = len(text)
        if self.last is None or count > 3 or len(set(text)) > 1:
            raise AbcError("a broken rhythm sign that joins no two notes", remedy="write it as in A>B or A<<B")
        if self.factor != (1, 1):
            raise AbcError("two broken rhythm signs between two notes", remedy="leave one of them out")
        long, short = 2 ** (count + 1) - 1, 1
        mine, others = (long, short) if text[0] == ">" else (short, long)
        self.last[1] *= mine
        self.last[2] *= 2**count
        self.factor = (others, 2**count)

    def _tuplet(self, text: str) -> None:
        terms = [*text[1:].split(":"), "", ""][:3]
        if any(len(term) > 2 for term in terms):
            raise AbcError("a tuplet of too many notes", remedy=f"write at most {MAXIMUM_TUPLET_NUMBER}")
        p = int(terms[0])
        q = int(terms[1] or 0) or _DEFAULT_Q.get(p) or (3 if self.metre is not None and self.metre.compound else 2)
        count = int(terms[2] or 0) or p
        if p < 2:
            raise AbcError(f"a tuplet of {p}", remedy="write it as in (3abc")
        if not terms[1] and p > 9:
            raise AbcError(f"a tuplet of {p} that does not say in which time", remedy=f"write it as in ({p}:8")
        if self.tuplet_left:
            self.place.notice("tuplet inside a tuplet")
        self.tuplet, self.tuplet_left = (p, q), count

    def _quote(self, text: str) -> None:
        symbol = read_chord_symbol(text[1:-1])
        if not symbol:
            self.place.notice("annotation")
        elif not self.symbol:
            self.symbol = symbol

    def _tie(self, text: str) -> None:
        if self.last is None or not self.last[0]:
            self.place.notice("tie into or from a rest")
            return
        self.last[3] = self.open_ties = self.last[0]

    def _inline_field(self, text: str) -> None:
        self.inline_field(text[1], text[3:-1].strip())

    def _overlay(self, text: str) -> None:
        self.place.notice("overlay")
        self.skipping = "overlay"

    def _drop(self, text: str) -> None:
        self.place.notice("decorations")

    def _junk(self, text: str) -> None:
        self.place.notice(f"{text} that means nothing here")

    def _ignore(self, text: str) -> None:
        pass

    def _refuse(self, text: str) -> None:
        reasons = {
            '"': "a quotation mark that is never closed",
            "{": "a grace note bracket that is never closed",
            "[": "a bracket that is never closed",
        }
        if text in "0123456789":
            raise AbcError("a number where a note was expected", remedy="put lengths behind notes, without blanks")
        if text in "^_=":
            raise AbcError("an accidental without a note", remedy="write it as in ^f; quarter tones are not read")
        raise AbcError(reasons.get(text, f"{text!a} where a note was expected"))

    _HANDLERS = {
        "inline": _inline_field, "bar": _bar_line, "rest": _rest, "broken": _broken, "tuplet": _tuplet,
        "shorthand": _drop, "quote": _quote, "chord": _chord, "named": _named_ending, "grace": _grace,
        "decoration": _drop, "tie": _tie, "rests": _bar_rests, "overlay": _overlay, "space": _ignore,
        "junk": _junk, "ignored": _ignore, "other": _refuse,
    }  # fmt: skip

    # ------------------------------------------------------------------ the end

    def finish(self) -> list[Sign]:
        """Close the last bar; return the signs before each bar and behind the last one. Raises AbcError."""
        if self.factor != (1, 1):
            raise AbcError("a broken rhythm sign that joins no two notes", remedy="write it as in A>B or A<<B")
        if self.tuplet_left:
            self.place.notice("tuplet with too few notes")
        if self.bar.notes:
            self._end_bar()
        if not self.bars:
            raise AbcError("the tune has no notes")
        return [*(bar.sign for bar in self.bars), self.bar.sign]

    def make_bars(self, form: Form) -> tuple[Bar, ...]:
        """The bars of the tune; its own key and metre are those of the first."""
        bars = []
        key, metre = self.bars[0].key, self.bars[0].metre
        for index, bar in enumerate(self.bars):
            notes = tuple(
                Note(pitches, make_length(numerator, denominator), ties, graces, symbol)
                for pitches, numerator, denominator, ties, graces, symbol in bar.notes
            )
            bars.append(
                Bar(
                    notes,
                    form.opens[index],
                    form.closes[index],
                    form.endings[index],
                    form.double[index],
                    None if bar.metre == metre else bar.metre,
                    None if bar.key == key else bar.key,
                    bar.part,
                )
            )
            key, metre = bar.key, bar.metre
        return tuple(bars)
