"""Where a tune comes from, as every file of it tells: program, model, seed, number, options; told and read back.

In ABC this stands in two fields, in all other formats in one text, as plain bytes of the file::

    Z:HoyoMusic 1.0.0, model 0123...
    N:seed 7, tune 0, --region Mondstadt --bars 16

    seed 7, tune 0, --region Mondstadt --bars 16; HoyoMusic 1.0.0, model 0123...

So one search finds it in any format, and nothing of a stranger's file is parsed but these few words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from hoyomusic import __version__, checkpoint
from hoyomusic.errors import CheckpointError, GenerationError, UsageError
from hoyomusic.request import MOST_TUNES, PRIME, Request, describe_options, read_options
from hoyomusic.tune import Tune

MELODY_ONLY = "--melody-only"
# Our files tell it near their beginning, or are short.
BYTES_READ = 4 * 2**20
# Of the hash of a model at least so many digits.
SHORT_HASH = 12
MODEL_SUFFIXES = (".onnx", ".pth")

_MAKER = rb"HoyoMusic (?P<version>[0-9][0-9A-Za-z.+-]{0,30}), model (?P<model>[0-9a-f]{12,64})"
_MAKING = rb"seed (?P<seed>[0-9]{1,19}), tune (?P<index>[0-9]{1,5}), (?P<options>--[ A-Za-z0-9./#+-]{1,500})"
_TELLINGS = (
    re.compile(rb"^Z:" + _MAKER + rb"\r?\nN:" + _MAKING + rb"\r?$", re.MULTILINE),
    re.compile(_MAKING + b"; " + _MAKER),
)
_REWRITTEN = re.compile(rb"model [0-9a-f]{12,64}, seed [0-9]{1,19}, (?P<command>infill|vary) --")


@dataclass(frozen=True, slots=True)
class Provenance:
    """What makes a tune again: number `index` of `request`, by the model whose SHA-256 begins with `model`.

    `version` of the program made it, `melody_only` without the band.
    """

    version: str
    model: str
    request: Request
    index: int
    melody_only: bool


def name_maker(identity: str) -> str:
    """This program, and the model with this SHA-256."""
    return f"HoyoMusic {__version__}, model {identity}"


def tell_making(request: Request, index: int) -> str:
    """What, beside the maker, makes tune number `index` of a request again."""
    return f"seed {request.seed}, tune {index}, {describe_options(request)}"


def without_band(tune: Tune) -> Tune:
    """A tune that tells that its files hold the melody alone."""
    return replace(tune, header=replace(tune.header, notes=f"{tune.header.notes} {MELODY_ONLY}"))


def read_provenance(path: Path) -> Provenance:
    """What a file of ours, in any format, tells of its one tune.

    Raises CorpusError for a file that cannot be read and GenerationError for one that tells nothing, that tells
    of several tunes, or whose tune hangs on another one too.
    """
    from hoyomusic.corpus.files import open_file

    with open_file(path, BYTES_READ + 1) as file:
        data = file.read(BYTES_READ)
    if found := _REWRITTEN.search(data):
        command = found["command"].decode()
        raise _refused(path, f"was rewritten by hoyo {command}", f"call hoyo {command} with the tune before it")
    found = {tuple(match.groupdict().items()): match for telling in _TELLINGS for match in telling.finditer(data)}
    if len(found) != 1:
        what = f"tells of {len(found)} tunes" if found else "does not tell how HoyoMusic made it"
        raise _refused(path, what, "name a file of one tune that hoyo generate wrote")
    (match,) = found.values()
    told = {name: value.decode("ascii") for name, value in match.groupdict().items()}
    words = told["options"].split()
    if PRIME in words:
        options = " ".join(word for word in words if word != PRIME)
        command = f"hoyo generate {options} --seed {told['seed']} --prime FILE"
        raise _refused(path, "goes on from another tune, which it does not hold", f"call {command} with that tune")
    melody_only = words[-1] == MELODY_ONLY
    try:
        request = Request(seed=int(told["seed"]), **read_options(words[:-1] if melody_only else words))
    except UsageError as error:
        raise _refused(path, f"tells of options that there are not ({error})", "use another file") from error
    if int(told["index"]) >= MOST_TUNES:
        raise _refused(path, f"tells of tune {told['index']}", "use another file")
    return Provenance(told["version"], told["model"], request, int(told["index"]), melody_only)


def find_maker(provenance: Provenance, model: str | Path | None = None) -> Path:
    """The file of the model that made a tune: among those beside the one named `model`, or that would be used.

    Checkpoints and exports are models of their own. Raises CheckpointError where none is the one.
    """
    usual = [checkpoint.find_model(model)] + ([checkpoint.find_default_model()] if model is None else [])
    candidates = [path.with_suffix(suffix) for path in usual for suffix in MODEL_SUFFIXES] + usual[:1]
    if model is None:
        others = [path for each in usual for path in sorted(each.parent.iterdir())]
        candidates += [path for path in others if path.suffix in MODEL_SUFFIXES]
    found: dict[Path, str] = {}
    for path in dict.fromkeys(candidates):
        if path.is_file() or path == usual[0]:
            found[path] = checkpoint.identity(path)
            if found[path].startswith(provenance.model):
                return path
    here = ", ".join(f"{path.name} is {identity[:SHORT_HASH]}" for path, identity in found.items())
    raise CheckpointError(
        f"the tune was made by model {provenance.model[:SHORT_HASH]} of HoyoMusic {provenance.version}, but {here}",
        where=str(usual[0].parent),
        remedy="name its file with --model",
    )


def _refused(path: Path, message: str, remedy: str) -> GenerationError:
    return GenerationError(message, where=str(path), remedy=remedy)
