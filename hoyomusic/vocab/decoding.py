"""From tokens back to a tune."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache

from hoyomusic.errors import VocabularyError
from hoyomusic.tune import LETTERS, Bar, Key, Metre, Note, Pitch, Tune, height
from hoyomusic.vocab.tokens import TICKS_PER_WHOLE, Kind, Relative, Token


@lru_cache(maxsize=4096)
def _note_in(key: Key | None, relative: Relative, ticks: int) -> Note:
    """A note, or a rest, of so many ticks: tunes are made of few different ones."""
    return Note(() if relative is None else (_pitch_in(key, relative),), Fraction(ticks, TICKS_PER_WHOLE))


@lru_cache(maxsize=4096)
def _pitch_in(key: Key | None, relative: tuple[int, int]) -> Pitch:
    """The pitch that a relative one is in a key; raises AttributeError where there is no key."""
    octave, letter = divmod(key.tonic_pitch.diatonic + relative[0], 7)
    accidental = key.signature.get(LETTERS[letter], 0) + relative[1]
    if abs(accidental) > 2:
        return Pitch.from_midi(Pitch(LETTERS[letter], accidental, octave).midi)
    return Pitch(LETTERS[letter], accidental, octave)


class Decoder:
    """Builds one tune, token by token."""

    def __init__(self, tokens: Sequence[Token], names: Sequence[str]) -> None:
        self.tokens = tokens
        self.names = names
        self.bars: list[Bar] = []
        self.key: Key | None = None
        self.first_key: Key | None = None
        self.first_metre: Metre | None = None
        self.tonic: tuple[str, int] | None = None
        self.ticks: int | None = None
        self._begin_bar()

    def _begin_bar(self) -> None:
        self.notes: list[Note] = []
        self.joining = self.opens = False
        self.ending: tuple[int, ...] = ()
        self.metre: Metre | None = None
        self.new_key: Key | None = None

    def decode(self, ids: Iterable[int]) -> Tune:
        """The tune that `ids` say; raises VocabularyError, with the token's place, where they say none."""
        ended = False
        for place, index in enumerate(ids):
            if not 0 <= index < len(self.tokens):
                raise VocabularyError(f"there is no id {index}", where=f"token {place}")
            token = self.tokens[index]
            if ended or (place == 0) != (token.kind is Kind.START):
                raise VocabularyError(f"{self.names[index]} is out of place", where=f"token {place}")
            ended = token.kind is Kind.END
            try:
                self._take(token)
            except (TypeError, IndexError, AttributeError) as error:
                name = self.names[index]
                raise VocabularyError(f"{name} is out of place", where=f"token {place}") from error
        if self.first_key is None or self.first_metre is None or not self.bars or self.notes:
            raise VocabularyError("the ids stop in the middle of a tune")
        return Tune(self.first_key, self.first_metre, tuple(self.bars))

    def _take(self, token: Token) -> None:
        match token.kind:
            case Kind.NOTE:
                self.ticks = token.ticks
                self._add_note(token.value)
            case Kind.LENGTH:
                self.ticks = token.ticks
            case Kind.PITCH:
                self._add_note(token.value)
            case Kind.BAR | Kind.DOUBLE | Kind.CLOSE | Kind.FINAL:
                self._end_bar(token)
            case Kind.TONIC:
                self.tonic = token.value
            case Kind.MODE:
                self.key = Key(*self.tonic, token.value)
                if self.first_key is None:
                    self.first_key = self.key
                else:
                    self.new_key = self.key
            case Kind.METRE:
                if self.first_metre is None:
                    self.first_metre = Metre(*token.value)
                else:
                    self.metre = Metre(*token.value)
            case Kind.OPEN:
                self.opens = True
            case Kind.ENDING:
                self.ending = token.value
            case Kind.JOIN:
                self.joining = bool(self.notes[-1].pitches)
            case Kind.TIE:
                last = self.notes[-1]
                self.notes[-1] = Note(last.pitches, last.length, last.pitches)

    def _add_note(self, relative: Relative) -> None:
        if self.ticks is None:
            raise TypeError("a pitch before any length")
        note = _note_in(self.key, relative, self.ticks)
        if self.joining:
            last = self.notes.pop()
            note = Note(tuple(sorted(last.pitches + note.pitches, key=height)), last.length)
            self.joining = False
        self.notes.append(note)

    def _end_bar(self, token: Token) -> None:
        closes = token.value if token.kind is Kind.CLOSE else 0
        self.bars.append(
            Bar(
                tuple(self.notes),
                opens=self.opens,
                closes=closes,
                ending=self.ending,
                double=token.kind is Kind.DOUBLE,
                metre=self.metre,
                key=self.new_key,
            )
        )
        self._begin_bar()
