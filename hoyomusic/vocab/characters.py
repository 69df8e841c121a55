"""`CharacterVocabulary`: a tune as the characters of its ABC text, which is how models of the old program take it.

The text is our canonical one under the shortest head, then a blank line, which ends it::

    X:1 / M:6/8 / L:1/8 / K:D / |: A2B AFD | ... |] / (blank)

So the old characters keep their ids, and the boundary between tunes has the one behind them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hoyomusic.errors import AbcError, TuneError, VocabularyError
from hoyomusic.tune import Header, Tune
from hoyomusic.vocab import VERSION, Vocabulary

LAYOUT = "characters"
BOUNDARY = "<boundary>"


class CharacterVocabulary:
    """A closed, ordered list of characters; equal lists mean equal ids.

    Raises VocabularyError for a list that is none, and where a tune has no ids (`encode`) or ids are no tune
    (`decode`).
    """

    layout = LAYOUT

    def __init__(self, characters: Sequence[str]) -> None:
        if not all(type(character) is str and len(character) == 1 for character in characters):
            raise VocabularyError("a vocabulary of characters has longer tokens", remedy="use another model")
        if len(set(characters)) != len(characters):
            raise VocabularyError("a character stands twice in the vocabulary", remedy="use another model")
        self.names = (*characters, BOUNDARY)
        self.ids = {name: index for index, name in enumerate(self.names)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CharacterVocabulary:
        """The vocabulary that `to_dict` wrote; raises VocabularyError for a version that is not ours."""
        *characters, last = data["tokens"]
        if data.get("version") != VERSION or last != BOUNDARY:
            raise VocabularyError("a vocabulary of characters of another version", remedy="use another model")
        return cls(characters)

    def to_dict(self) -> dict[str, object]:
        """The vocabulary as plain data, for a checkpoint."""
        return {"version": VERSION, "layout": LAYOUT, "tokens": list(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CharacterVocabulary) and self.names == other.names

    def __hash__(self) -> int:
        return hash(self.names)

    def encode(self, tune: Tune) -> list[int]:
        """The ids of a tune's text, its end included. The texts of its header have none.

        Raises VocabularyError for the first character that has no id.
        """
        from hoyomusic import abc

        try:
            text = abc.write(replace(tune, header=Header())) + "\n"
        except TuneError as error:
            raise VocabularyError(error.message) from error
        ids = [self.ids.get(character) for character in text]
        if None in ids:
            raise VocabularyError(f"the character {text[ids.index(None)]!r} has no id")
        return ids

    def decode(self, ids: Iterable[int]) -> Tune:
        """The tune of a sequence of ids, the inverse of `encode`; raises VocabularyError where they are none."""
        from hoyomusic import abc

        try:
            return abc.parse_one("".join(self.names[index] for index in ids))
        except AbcError as error:
            raise VocabularyError(f"the ids are no tune: {error}") from error

    def count_notes(self, ids: Sequence[int]) -> int:
        """Notes and rests in a sequence; a chord counts once."""
        return sum(1 for _ in self.decode(ids).notes())


AnyVocabulary = Vocabulary | CharacterVocabulary


def read_vocabulary(data: Mapping[str, Any]) -> AnyVocabulary:
    """The vocabulary of a checkpoint, of whichever kind it is; raises VocabularyError as either does."""
    return CharacterVocabulary.from_dict(data) if data.get("layout") == LAYOUT else Vocabulary.from_dict(data)
