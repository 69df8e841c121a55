"""Tunes as the characters of their text: the old characters keep their ids, and every tune comes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hoyomusic import abc
from hoyomusic.corpus import Corpus, CorpusReport, CorpusTune
from hoyomusic.dataset import prepare
from hoyomusic.errors import VocabularyError
from hoyomusic.tune import Header, Key, Tune
from hoyomusic.vocab import Vocabulary
from hoyomusic.vocab.characters import BOUNDARY, CharacterVocabulary, read_vocabulary
from tests.conftest import BOOK

TUNES = [replace(tune, header=Header()) for tune in abc.parse(BOOK.read_text(encoding="utf-8"))]
ENOUGH = "".join(sorted(set("".join(map(abc.write, TUNES)))))


def test_every_tune_comes_back() -> None:
    vocabulary = CharacterVocabulary(ENOUGH)
    for tune in TUNES:
        ids = vocabulary.encode(tune)
        assert vocabulary.decode(ids) == tune
        assert vocabulary.count_notes(ids) == sum(1 for _ in tune.notes())


def test_the_text_is_ours_with_the_shortest_head_and_a_blank_line() -> None:
    vocabulary = CharacterVocabulary(ENOUGH + "]")
    (tune,) = abc.parse("X:7\nT:No id\nM:2/4\nL:1/8\nK:D\nABcd|d4|]")
    text = "".join(vocabulary.names[index] for index in vocabulary.encode(tune))
    assert text == "X:1\nM:2/4\nL:1/8\nK:D\nAB cd | d4 |]\n\n"


def test_characters_keep_their_ids_and_the_boundary_follows() -> None:
    vocabulary = CharacterVocabulary("ba")
    assert vocabulary.ids == {"b": 0, "a": 1, BOUNDARY: 2}
    assert len(vocabulary) == 3


def test_a_checkpoint_tells_which_vocabulary_it_is() -> None:
    characters = CharacterVocabulary(ENOUGH)
    assert read_vocabulary(characters.to_dict()) == characters
    assert hash(read_vocabulary(characters.to_dict())) == hash(characters)
    tokens = Vocabulary.build()
    assert read_vocabulary(tokens.to_dict()) == tokens
    assert characters != tokens


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"version": 1, "tokens": ["ab", BOUNDARY]}, "longer tokens"),
        ({"version": 1, "tokens": ["a", "a", BOUNDARY]}, "stands twice"),
        ({"version": 2, "tokens": ["a", BOUNDARY]}, "of another version"),
        ({"version": 1, "tokens": ["a", "b"]}, "of another version"),
    ],
)
def test_lists_that_are_none_are_refused(data: dict[str, object], message: str) -> None:
    with pytest.raises(VocabularyError, match=message):
        read_vocabulary({"layout": "characters", **data})


def test_what_cannot_be_said_is_refused() -> None:
    with pytest.raises(VocabularyError, match="the character 'X' has no id"):
        CharacterVocabulary("abc").encode(TUNES[0])
    with pytest.raises(VocabularyError, match="the ids are no tune"):
        CharacterVocabulary("abc").decode([0, 1])
    with pytest.raises(VocabularyError, match="cannot be written in ABC"):
        CharacterVocabulary(ENOUGH).encode(Tune(Key("F", 2), TUNES[0].metre, TUNES[0].bars))


def test_training_gets_characters_without_clock_and_recall() -> None:
    vocabulary = CharacterVocabulary(ENOUGH.replace("^", ""))
    said = []
    for tune in TUNES:
        try:
            said.append(vocabulary.encode(tune))
        except VocabularyError:
            continue
    entries = tuple(
        CorpusTune(tune, 1, "book", number, ("train", "validation")[number % 2], str(number))
        for number, tune in enumerate(TUNES)
    )
    dataset = prepare(Corpus(entries, CorpusReport(), "0" * 64), vocabulary)
    samples = [*dataset.training, *dataset.validation]
    assert sorted(tuple(sample.ids) for sample in samples) == sorted(map(tuple, said))
    assert len(said) < len(TUNES)
    assert dataset.unsayable == {"the character '^' has no id": len(TUNES) - len(said)}
    assert not any(np.any(sample.clock) or np.any(sample.recall) for sample in samples)
