"""Is everything that comes out right? ``python -m benchmarks.validity``

Makes tunes in many settings (as learned, hot, with a model that has learned nothing, for each nation, in
each metre, form and length) and has each tune judged twice: by `hoyomusic.evaluation.validity`, which shares no
code with the grammar, and by abc2midi (from the symusic package), which counts the bars of what was written.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import tempfile
from pathlib import Path

from hoyomusic import abc
from hoyomusic.checkpoint import Checkpoint, find_model, load, save
from hoyomusic.evaluation.generation import compose_all
from hoyomusic.evaluation.validity import Asked, count_valid
from hoyomusic.model import HoyoMusicLSTM
from hoyomusic.regions import REGIONS
from hoyomusic.request import DEFAULT_RANGE, Request, read_wished_key, read_wished_metre
from hoyomusic.sampling import SamplingConfig
from hoyomusic.sizes import ModelConfig
from hoyomusic.tune import Tune

METRES = ("2/4", "3/4", "4/4", "6/8", "9/8", "5/8", "7/8", "12/8")


def list_settings(default: Path, unlearned: Path, tunes: int) -> list[tuple[str, Path, Request]]:
    """Name, model and wish of each setting."""
    plain = Request("Teyvat", count=tunes, seed=1)
    settings = [
        ("default model, temperature 1", default, plain),
        ("temperature 1.5, no top-k", default, Request("Teyvat", count=tunes, seed=2, sampling=SamplingConfig(1.5))),
        ("random weights", unlearned, Request("Mondstadt", count=tunes, seed=3)),
    ]
    settings += [(region.name, default, Request(region.name, count=tunes, seed=4)) for region in REGIONS]
    settings += [(f"{metre}, 8 bars", default, Request("Mondstadt", count=tunes, seed=5, metre=metre, bars=8)) for metre in METRES]
    few = max(1, tunes // 4)
    for form in ("AABB", "AABA", "through"):
        settings.append((f"{form}, 16 bars", default, Request("Mondstadt", count=few, seed=6, form=form, bars=16)))
    settings += [
        ("--length 100", default, Request("Mondstadt", count=few, seed=7, length=100)),
        ("--length 400", default, Request("Mondstadt", count=few, seed=7, length=400)),
        ("random, --length 400", unlearned, Request("Liyue", count=few, seed=8, length=400)),
        ("--key F#m --range C4-C6", default, Request("Liyue", count=few, seed=9, key="F#m", range="C4-C6")),
    ]
    return settings


def ask(request: Request) -> Asked:
    """What the checker holds the tunes of a request to."""
    wish = request.wish()
    return Asked(
        key=None if request.key is None else read_wished_key(request.key),
        metre=None if request.metre is None else read_wished_metre(request.metre),
        bars=request.bars,
        lowest=wish.lowest if request.range else DEFAULT_RANGE[0],
        highest=wish.highest if request.range else DEFAULT_RANGE[1],
    )


def find_abc2midi() -> Path | None:
    """The program within the symusic package, None where that is not installed."""
    found = importlib.util.find_spec("symusic")
    return None if found is None else Path(found.origin).parent / "bin" / "abc2midi"


def count_warnings(program: Path, tunes: list[Tune]) -> int:
    """How many bars abc2midi warns of."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tunes.abc"
        path.write_text(abc.write_book(tunes), encoding="utf-8")
        done = subprocess.run([program, path, "-c"], capture_output=True, text=True, check=False, cwd=folder)
    return sum(line.startswith(("Warning in", "Error in")) for line in done.stdout.splitlines())


def make_unlearned(default: Path, folder: str) -> Path:
    """A model like the default one, small and with weights as they were drawn."""
    loaded = load(default)
    sizes = ModelConfig(
        loaded.config.vocabulary, loaded.config.regions, loaded.config.clocks, embedding=16, hidden=32, layers=3,
        recalls=loaded.config.recalls,
    )  # fmt: skip
    model = HoyoMusicLSTM(sizes, seed=1)
    path = Path(folder) / "unlearned.pth"
    return save(Checkpoint(sizes, loaded.vocab, model.state_dict(), loaded.provenance), path)


def main() -> None:
    """Print a row for each setting."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="default", help="a .pth file")
    parser.add_argument("--tunes", type=int, default=1000, help="tunes of each setting, a quarter of them of the last seven")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--only", help="settings whose name has this in it")
    options = parser.parse_args()
    default = find_model(options.model)
    program = find_abc2midi()
    print(f"{'setting':<30}{'tunes':>7}{'bars':>9}{'valid':>9}{'warned bars':>13}   tokens, fewest to most")
    with tempfile.TemporaryDirectory() as folder:
        for name, model, request in list_settings(default, make_unlearned(default, folder), options.tunes):
            if options.only and options.only not in name:
                continue
            made = compose_all(model, [request], options.jobs, lambda count: None)
            tunes = [each.tune for each in made]
            validity = count_valid(tunes, ask(request))
            warned = "no program" if program is None else f"{count_warnings(program, tunes):,}"
            tokens = [each.tokens for each in made]
            print(
                f"{name:<30}{validity.tunes:>7,}{validity.bars:>9,}{validity.share:>9.2%}{warned:>13}"
                f"   {min(tokens)}-{max(tokens)}",
                *(f"{kind}: {count}" for kind, count in validity.faults.items()),
                flush=True,
            )


if __name__ == "__main__":
    main()
