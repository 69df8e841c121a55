"""`hoyo play`: endless music to a MIDI port, in real time."""

from __future__ import annotations

import itertools
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from hoyomusic.cli.console import examples, given, note, spare_threads, write_json
from hoyomusic.cli.generate import SEEDS_DRAWN
from hoyomusic.errors import UsageError
from hoyomusic.regions import find_region
from hoyomusic.text import printable

if TYPE_CHECKING:
    from hoyomusic.playing import Piece

EXAMPLES = examples(
    "hoyo play --region Mondstadt",
    "hoyo play --list-ports",
    "hoyo play --region 璃月 --tempo 72 --melody-only --port fluid",
)

# While a tune is made a message waits this long for the interpreter at most.
SWITCH_SECONDS = 0.001


def play(
    region: Annotated[str | None, typer.Option("--region", help="The nation, in English or Chinese.")] = None,
    length: Annotated[int | None, typer.Option("--length", help="About so many tokens a tune.")] = None,
    bars: Annotated[int | None, typer.Option("--bars", help="So many bars a tune, the upbeat not counted.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="As in ABC: D, F#m, Bb, Ador.")] = None,
    metre: Annotated[str | None, typer.Option("--metre", help="As in 6/8.")] = None,
    tempo: Annotated[int | None, typer.Option("--tempo", help="Crotchets a minute.")] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Above 1 bolder, below 1 plainer, 0 the likeliest.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="The same seed and options, the same music.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="PATH|default", help="The model; else your own if there is one.")
    ] = None,
    tunes: Annotated[int | None, typer.Option("--tunes", help="Stop after so many tunes.")] = None,
    melody_only: Annotated[bool, typer.Option("--melody-only", help="Leave out the band.")] = False,
    port: Annotated[str | None, typer.Option("--port", metavar="NAME", help="The MIDI port, or a part of it.")] = None,
    ports_only: Annotated[bool, typer.Option("--list-ports", help="Print the names of the ports and end.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a tune, as it begins.")] = False,
) -> None:
    """Play endless music in the style of a nation to a MIDI port, made while it sounds. Ctrl-C ends it.

    The tunes are those that `hoyo generate` writes for the same seed and options.
    """
    spare_threads()
    from hoyomusic import playing
    from hoyomusic.generator import HoyoMusicGenerator
    from hoyomusic.request import Request
    from hoyomusic.sampling import SamplingConfig

    if tunes is not None and tunes < 1:
        raise UsageError(f"{tunes} tunes", where="--tunes", remedy="ask for 1 or more, or leave it out: they never end")
    request = Request(
        **given(region=region, length=length, bars=bars, key=key, metre=metre, tempo=tempo),
        seed=secrets.randbelow(SEEDS_DRAWN) if seed is None else seed,
        sampling=SamplingConfig(**given(temperature=temperature)),
    )
    if ports_only:
        for name in playing.list_ports():
            if as_json:
                write_json({"port": name})
            else:
                print(printable(name))
        return
    generator = HoyoMusicGenerator.load(model)
    with closing(playing.open_port(port)) as opened, _ending_on_sigterm():
        if not quiet:
            note(f"playing to {opened.name}, seed {request.seed}; Ctrl-C ends it")
        if melody_only:
            bars_made = itertools.takewhile(
                lambda bar: tunes is None or bar.tune < tunes, generator.stream(request, endless=True)
            )
            passages = playing.play_melody(bars_made, find_region(request.region), request.seed)
            ahead = playing.BARS_AHEAD
        else:
            indices = itertools.count() if tunes is None else range(tunes)
            made = (tune for index in indices for tune in generator.compose(request, range(index, index + 1)))
            passages, ahead = playing.play_band(made), playing.TUNES_AHEAD

        def tell(piece: Piece) -> None:
            if as_json:
                told = piece._asdict() | {"key": str(piece.key), "metre": str(piece.metre), "seed": request.seed}
                write_json(told | {"region": find_region(request.region).name, "model": generator.identity})
            elif not quiet:
                print(f"{piece.title}: {piece.key}, {piece.metre}, {piece.tempo} crotchets a minute", flush=True)

        sys.setswitchinterval(SWITCH_SECONDS)
        with closing(playing.make_ahead(passages, ahead)) as ready:
            playing.play(ready, opened, on_piece=tell)


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Within it SIGTERM ends the music as Ctrl-C does, so that no note is left sounding."""

    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
