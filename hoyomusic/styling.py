"""What a nation adds to a wish: to those without tunes scale and metre, to the others an end; a title; drawn by the seed."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from hoyomusic.grammar import Wish
from hoyomusic.grammar.tables import is_written
from hoyomusic.regions import Region
from hoyomusic.tune import Metre, Pitch


def style(region: Region, wish: Wish, seed: int, index: int) -> Wish:
    """The wish with a styled nation's scale, mode and metre, drawn for tune `index` by `seed`.

    A mode that was asked for leaves the scales of that mode to choose from, or all, if the nation has none of it.
    """
    scales = [scale for scale in region.scales if wish.mode in (None, scale.mode)] or list(region.scales)
    scale = scales[draw(seed, index, "scale", len(scales))] if scales else None
    metre = wish.metre
    if metre is None:
        weighted = [name for name, weight in region.metres for _ in range(weight)]
        beats, unit = weighted[draw(seed, index, "metre", len(weighted))].split("/")
        metre = Metre(int(beats), int(unit))
    if scale is None:
        return replace(wish, metre=metre)
    mode, tonic = wish.mode or scale.mode, wish.tonic
    if tonic is not None and not is_written(tonic, mode):
        # The same key note under its other name: G flat has no minor that anybody writes, F sharp has.
        other = Pitch.from_midi(Pitch(*tonic, 4).midi)
        tonic = (other.letter, other.accidental)
    return replace(wish, tonic=tonic, mode=mode, metre=metre, scale=scale.semitones, finals=scale.finals)


def draw_finals(region: Region, seed: int, index: int) -> tuple[int, ...] | None:
    """The degrees on which tune `index` is to end, drawn as often as the nation's tunes end on them; None: any.

    A model that has learned the nation finds the tonic less often than its tunes do: it does not know that it is
    about to end until the last bar.
    """
    drawn = draw(seed, index, "final", 100)
    for degrees, share in region.finals:
        if drawn < share:
            return degrees
        drawn -= share
    return None


def draw(seed: int, index: int, what: str, count: int) -> int:
    """A whole number below `count`, a function of its arguments alone."""
    digest = hashlib.sha256(f"{seed}/{index}/{what}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % count


_ADJECTIVES = (
    "Amber", "Clear", "Distant", "Early", "Falling", "First", "Gentle", "Golden",
    "Hidden", "Late", "Morning", "Quiet", "Rising", "Silver", "Wandering", "Winter",
)  # fmt: skip
_NOUNS = (
    "Bells", "Bridge", "Cloud", "Feather", "Gate", "Harbour", "Hill", "Lantern",
    "Meadow", "Moon", "Rain", "River", "Road", "Sail", "Star", "Wind",
)  # fmt: skip


def name_tune(region: Region, seed: int, index: int) -> str:
    """A title of our own, from the nation's name and the seed."""
    adjective = _ADJECTIVES[draw(seed, index, f"adjective {region.name}", len(_ADJECTIVES))]
    noun = _NOUNS[draw(seed, index, f"noun {region.name}", len(_NOUNS))]
    return f"{adjective} {noun} of {region.name}"
