"""`CharacterMap`: which character an id of an old generator stands for, and how many of them it looked at.

The old program kept it beside the model, in ``hoyomusic_mappings.pkl``: ``char_to_int``, ``int_to_char``,
``vocab_size`` and ``seq_length``. What it did with it is kept here: a character that it did not know became id 0,
and a text shorter than the window was filled up in front with blanks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hoyomusic.errors import CheckpointError

# The name of the file that the old program wrote beside its model.
MAP_FILE = "hoyomusic_mappings.pkl"
REMEDY = f"give the model's own {MAP_FILE} with hoyo convert --params"
LONGEST_WINDOW = 10_000
MOST_CHARACTERS = 100_000
UNKNOWN = 0


@dataclass(frozen=True)
class CharacterMap:
    """`characters[id]` for each id, and the `window` of characters that the next one was foretold from."""

    characters: tuple[str, ...]
    window: int

    @classmethod
    def read(cls, params: Mapping[str, Any], where: str) -> CharacterMap | None:
        """The map among the parameters of a model; None where they hold none.

        Raises CheckpointError, with `where` as its place, for one that contradicts itself.
        """
        ids = params.get("char_to_int")
        if ids is None:
            return None
        if type(ids) is not dict or not 0 < len(ids) <= MOST_CHARACTERS:
            raise _fault("char_to_int is no map of characters", where)
        if not all(type(character) is str and len(character) == 1 for character in ids):
            raise _fault("char_to_int maps something else than single characters", where)
        if not all(type(index) is int for index in ids.values()) or sorted(ids.values()) != list(range(len(ids))):
            raise _fault(f"char_to_int does not give {len(ids)} characters the ids from 0 on", where)
        characters = tuple(sorted(ids, key=ids.__getitem__))
        if params.get("vocab_size", len(ids)) != len(ids):
            raise _fault(f"vocab_size is {params['vocab_size']!r}, but {len(ids)} characters have an id", where)
        backwards = params.get("int_to_char")
        # JSON knows no whole numbers as keys.
        told = {index: character for index, character in enumerate(characters)}
        if backwards is not None and backwards not in (told, {str(index): told[index] for index in told}):
            raise _fault("int_to_char is not char_to_int backwards", where)
        window = params.get("seq_length")
        if type(window) is not int or not 1 <= window <= LONGEST_WINDOW:
            raise _fault(f"seq_length is {window!r}, not a whole number from 1 to {LONGEST_WINDOW}", where)
        return cls(characters, window)

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each character."""
        return {character: index for index, character in enumerate(self.characters)}

    def encode(self, text: str) -> list[int]:
        """The ids of a text; 0 for characters without one, as the old program had it."""
        return [self.ids.get(character, UNKNOWN) for character in text]

    def decode(self, ids: list[int]) -> str:
        """The text of ids."""
        return "".join(self.characters[index] for index in ids)

    def unknown(self, text: str) -> str:
        """The characters of a text that have no id, each once, in order."""
        return "".join(dict.fromkeys(character for character in text if character not in self.ids))

    def fill(self, ids: list[int]) -> list[int]:
        """The last `window` of the ids; of fewer, blanks stand in front."""
        recent = ids[-self.window :]
        return [self.ids.get(" ", UNKNOWN)] * (self.window - len(recent)) + recent


def _fault(message: str, where: str) -> CheckpointError:
    return CheckpointError(message, where=where, remedy=REMEDY)
