"""What a musician asks for, in a musician's words: read, checked, and told again."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hoyomusic.errors import AbcError, UsageError
from hoyomusic.grammar import Wish
from hoyomusic.regions import find_region
from hoyomusic.sampling import SamplingConfig
from hoyomusic.tune import Key, Metre, Pitch, Tune, parse_tonic

MOST_TUNES = 10_000
MOST_CANDIDATES = 64
LARGEST_SEED = 2**63 - 1

# The range that a melody keeps when the wish names none: G3 to D6, where the melody instruments sound well.
DEFAULT_RANGE = (55, 86)

# What an option's value is made of, for those that take one; those of the sampler apart.
SAMPLING_OPTIONS = ("temperature", "top_k", "top_p", "repetition", "repetition_span")
OPTION_KINDS: dict[str, Callable[[str], Any]] = {
    "region": str, "length": int, "bars": int, "key": str, "metre": str, "tempo": int, "range": str, "form": str,
    "guidance": float, "candidates": int, "temperature": float, "top_k": int, "top_p": float, "repetition": float,
    "repetition_span": int,
}  # fmt: skip
# What stands for a tune that was gone on from: which one it was, the words do not tell.
PRIME = "--prime"


@dataclass(frozen=True, slots=True)
class Request:
    """What is wished for; None leaves it to the nation and the model.

    `region` a nation in either language; `length` counts tokens, `bars` bars (at most one of them);
    `key` as in ABC (``"D"``, ``"F#m"``, ``"A dorian"``); `metre` (``"6/8"``); `tempo` crotchets a minute;
    `range` lowest and highest note (``"G3-D6"``); `guidance` how strongly a learned nation speaks: 0 not at all,
    1 as its tunes do, above 1 louder than they (classifier-free guidance, Ho & Salimans 2022, on logits);
    `form` is ``AABB``, ``AABA`` or ``through``; `prime` a tune whose bars the new ones go on from. Of
    `candidates` tunes the best is kept (see `audition`); `novel` keeps none that shares `novelty.QUOTATION`
    notes in a row with a training tune. Raises UsageError for what cannot be granted.
    """

    region: str = "Teyvat"
    count: int = 1
    seed: int = 0
    length: int | None = None
    bars: int | None = None
    key: str | None = None
    metre: str | None = None
    tempo: int | None = None
    range: str | None = None
    form: str | None = None
    guidance: float = 1.0
    candidates: int = 1
    novel: bool = False
    prime: Tune | None = None
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        find_region(self.region)
        if not 1 <= self.count <= MOST_TUNES:
            raise UsageError(f"{self.count} tunes", where="--count", remedy=f"ask for 1 to {MOST_TUNES}")
        check_seed(self.seed)
        if self.tempo is not None and not 20 <= self.tempo <= 400:
            raise UsageError(f"{self.tempo} crotchets a minute", where="--tempo", remedy="ask for 20 to 400")
        if not 0 <= self.guidance <= 10:
            raise UsageError(f"{self.guidance:g}", where="--guidance", remedy="give a number from 0 to 10")
        if not 1 <= self.candidates <= MOST_CANDIDATES:
            raise UsageError(
                f"{self.candidates} candidates", where="--candidates", remedy=f"ask for 1 to {MOST_CANDIDATES}"
            )
        if self.prime is not None and self.form:
            raise UsageError("--prime goes on in its own form", remedy="leave out --form")
        if self.prime is not None and (self.key or self.metre):
            raise UsageError("--prime brings its own key and metre", remedy="leave out --key and --metre")
        self.wish()

    @property
    def names_mode(self) -> bool:
        """Whether `key` names a mode: a bare key note means major, but leaves a styled nation its own scales."""
        return self.key is not None and len(self.key.strip()) > len(read_wished_key(self.key).tonic)

    def wish(self) -> Wish:
        """The part of the request that the grammar keeps, before the nation's style is added."""
        key = None if self.key is None else read_wished_key(self.key)
        lowest, highest = DEFAULT_RANGE if self.range is None else read_wished_range(self.range)
        return Wish(
            tonic=key and (key.letter, key.accidental),
            mode=key and key.mode,
            metre=None if self.metre is None else read_wished_metre(self.metre),
            bars=self.bars,
            length=self.length,
            form=self.form,
            lowest=lowest,
            highest=highest,
        )


def check_seed(seed: int) -> None:
    """Raises UsageError for a seed that the sampler cannot take."""
    if not 0 <= seed <= LARGEST_SEED:
        raise UsageError(f"the seed {seed}", where="--seed", remedy=f"give a whole number from 0 to {LARGEST_SEED}")


def read_wished_key(text: str) -> Key:
    """A key as ABC writes it; raises UsageError for what is no key, or no key to write a tune in."""
    from hoyomusic.abc.fields import read_key

    try:
        key = read_key(text.strip()).key
    except AbcError as error:
        raise UsageError(error.message, where="--key", remedy="write D, F#m, Bb or A dorian") from error
    if key is None or key.mode == "none" or key.explicit or abs(key.fifths) > 7:
        raise UsageError(f"{text!r} is no key to write in", where="--key", remedy="write D, F#m, Bb or A dorian")
    return key


def read_wished_metre(text: str) -> Metre:
    """A metre written as ``6/8``; raises UsageError for anything else."""
    beats, _, unit = text.partition("/")
    if not (beats.isascii() and beats.isdigit() and unit.isascii() and unit.isdigit() and len(text) <= 5):
        raise UsageError(f"{text!r} is no metre", where="--metre", remedy="write it as 6/8")
    return Metre(int(beats), int(unit))


def read_wished_range(text: str) -> tuple[int, int]:
    """Two notes written as ``G3-D6``, as MIDI numbers; raises UsageError for anything else."""
    match = re.fullmatch(r"([A-Ga-g][#b]?)([0-9])-([A-Ga-g][#b]?)([0-9])", text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no range", where="--range", remedy="write it as G3-D6")
    lowest, highest = (
        Pitch(*parse_tonic(name), int(octave)).midi for name, octave in (match.group(1, 2), match.group(3, 4))
    )
    return lowest, highest


def describe_options(request: Request) -> str:
    """The options that, with model, seed and a tune's number, make that tune again; `read_options` reads them.

    Each value is one word, written in one way however it was asked for; how many tunes were asked for changes none.

    >>> describe_options(Request("蒙德", key=" F# minor", guidance=2, novel=True))
    '--region Mondstadt --key F#m --guidance 2.0 --novel'
    """
    chosen, plain = request.sampling, SamplingConfig()
    wished = {
        "region": find_region(request.region).name,
        "length": request.length,
        "bars": request.bars,
        "key": None if request.key is None else _describe_key(request),
        "metre": None if request.metre is None else read_wished_metre(request.metre),
        "tempo": request.tempo,
        "range": None if request.range is None else request.range.strip(),
        "form": request.form,
        "guidance": None if request.guidance == 1 else float(request.guidance),
        "candidates": None if request.candidates == 1 else request.candidates,
    }
    for name in SAMPLING_OPTIONS:
        value = getattr(chosen, name)
        if value != getattr(plain, name):
            wished[name] = type(getattr(plain, name))(value)
    words = [f"--{name.replace('_', '-')} {value}" for name, value in wished.items() if value is not None]
    return " ".join(words + ["--novel"] * request.novel + [PRIME] * (request.prime is not None))


def read_options(words: list[str]) -> dict[str, Any]:
    """What `Request` takes, of options as `describe_options` writes them; their values are for `Request` to check.

    Raises UsageError for words that it never writes.
    """
    found: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        name = word.removeprefix("--").replace("-", "_")
        if not word.startswith("--") or name in found:
            raise UsageError(f"{word!r} is out of place")
        if name == "novel":
            found[name] = True
            continue
        try:
            found[name] = OPTION_KINDS[name](next(rest, ""))
        except (KeyError, ValueError):
            raise UsageError(f"{word!r} is no option with such a value") from None
    chosen = {name: found.pop(name) for name in SAMPLING_OPTIONS if name in found}
    return {**found, "sampling": SamplingConfig(**chosen)}


def _describe_key(request: Request) -> str:
    """The key in one word. A major that was named is more than a key note (see `Request.names_mode`)."""
    from hoyomusic.abc.fields import write_key

    key = read_wished_key(request.key)
    return f"{key.tonic}maj" if request.names_mode and key.mode == "major" else write_key(key)
