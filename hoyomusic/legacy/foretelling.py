"""What comes next in a text of characters: foretold from a window, as the old program did, or from a state, as we do.

A converted generator sees the last `window` characters anew for each one, from a zero state. Going on with the state
instead would be quicker, but the same weights would give other probabilities. A model that was trained on here
learned with the state carried, so that it is carried when it writes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from hoyomusic.legacy.characters import CharacterMap
from hoyomusic.runtime import Runtime
from hoyomusic.vocab.characters import CharacterVocabulary

# Added to each probability before its logarithm, as the old program did.
FLOOR = 1e-8


class Foreteller(Protocol):
    """One text under way."""

    def logits(self) -> np.ndarray:
        """How likely each id (V,) is to come next, in nats and up to a constant."""

    def take(self, index: int) -> None:
        """Hear the next id of the text."""


class CharacterModel(Protocol):
    """A model of characters: `characters[id]` for each id."""

    characters: tuple[str, ...]
    takes_titles: bool

    def unknown(self, text: str) -> str:
        """The characters of a text that have no id, each once, in order."""

    def begin(self, text: str, label: int) -> Foreteller:
        """A text that begins with `text`, of the nation with this `label`."""


class WindowModel:
    """The old program's way: `predict` gives the probabilities (V,) behind the ids of one whole window."""

    takes_titles = True

    def __init__(self, predict: Callable[[list[int]], np.ndarray], characters: CharacterMap) -> None:
        self.characters = characters.characters
        self.map = characters
        self.predict = predict

    def unknown(self, text: str) -> str:
        return self.map.unknown(text)

    def begin(self, text: str, label: int) -> Foreteller:
        return _WindowText(self, self.map.encode(text))


class _WindowText:
    def __init__(self, model: WindowModel, ids: list[int]) -> None:
        self._model = model
        self._ids = ids

    def logits(self) -> np.ndarray:
        probabilities = self._model.predict(self._model.map.fill(self._ids))
        # p^(1/T) is what the sampler makes of ln p and the temperature T.
        return np.log(probabilities.astype(np.float64) + FLOOR).astype(np.float32)

    def take(self, index: int) -> None:
        self._ids.append(index)


class StateModel:
    """Our way: the state of `runtime` goes on from character to character."""

    takes_titles = False

    def __init__(self, runtime: Runtime, vocabulary: CharacterVocabulary) -> None:
        # The boundary between tunes, the last id, is never written.
        self.characters = vocabulary.names[:-1]
        self.vocabulary = vocabulary
        self.runtime = runtime

    def unknown(self, text: str) -> str:
        return "".join(dict.fromkeys(character for character in text if character not in self.vocabulary.ids))

    def begin(self, text: str, label: int) -> Foreteller:
        return _StateText(self, [self.vocabulary.ids[sign] for sign in text if sign in self.vocabulary.ids], label)


class _StateText:
    def __init__(self, model: StateModel, ids: list[int], label: int) -> None:
        self._runtime = model.runtime
        self._count = len(model.characters)
        self._label = np.array([label])
        self._state = model.runtime.start(1)
        for index in ids:
            self.take(index)

    def logits(self) -> np.ndarray:
        return self._logits[0, : self._count]

    def take(self, index: int) -> None:
        clock = np.zeros(1, np.int64)
        self._logits, self._state = self._runtime.step(np.array([index]), self._label, clock, self._state)
