"""What a model is worth, in figures: how well it foretells; how right, faithful, various and new its tunes are.

One module an idea: `likelihood`, `validity`, `judge` (learned nations), `styled` (nations by rule),
`diversity`, `form`, `quotation`; `melody` and `distances` are what they stand on, `generation` makes the
tunes, `report` says what was found in tables, `page` shows it. All figures hang on model, corpus and
`EvaluationConfig` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hoyomusic.checkpoint import find_model, load
from hoyomusic.corpus import Corpus, CorpusTune, load_corpus
from hoyomusic.corpus.split import VALIDATION
from hoyomusic.errors import UsageError
from hoyomusic.evaluation.diversity import Diversity, measure_diversity
from hoyomusic.evaluation.form import FormRow, compare_forms, compare_histograms, read_form
from hoyomusic.evaluation.generation import compose_all
from hoyomusic.evaluation.judge import FEWEST_REAL, Confusion, Fidelity, judge_nations
from hoyomusic.evaluation.likelihood import Likelihood, measure_likelihood
from hoyomusic.evaluation.melody import Melody, read_melody
from hoyomusic.evaluation.quotation import measure_quotation
from hoyomusic.evaluation.report import Report
from hoyomusic.evaluation.styled import judge_styles, measure_obedience
from hoyomusic.evaluation.validity import Asked, count_valid
from hoyomusic.generator import HoyoMusicGenerator, Request
from hoyomusic.novelty import NoveltyIndex, build_index, find_index
from hoyomusic.regions import REGIONS, Region, find_region
from hoyomusic.sampling import SamplingConfig
from hoyomusic.tune import Tune
from hoyomusic.vocab import Vocabulary

# Of a nation; fewer cannot be compared with each other, and more no run of ours needs.
FEWEST_TUNES, MOST_TUNES = 5, 10_000
LARGEST_SEED = 10**15
MOST_JOBS = 64

# What a run takes, in seconds on one core of 2020, for the bar that shows how far it is.
READING_SECONDS = 5.0
LIKELIHOOD_SECONDS = 85.0
SECONDS_PER_TUNE = 0.1
JUDGING_SECONDS = 25.0
COMPARING_SECONDS = 20.0

# Told what is going on, and what share of the whole is done.
Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """What to evaluate, and on how much. Raises UsageError for values out of bounds.

    `model` as `checkpoint.find_model` takes it; `corpus` as `load_corpus`; `tunes` are made of each nation in
    `regions` (names in either language), with `guidance` and `temperature` as `generator.Request` has them,
    by `jobs` processes.
    """

    model: str | Path | None = None
    corpus: tuple[str, ...] = ("default",)
    regions: tuple[str, ...] = tuple(region.name for region in REGIONS)
    tunes: int = 200
    seed: int = 0
    guidance: float = 1.0
    temperature: float = 1.0
    jobs: int = 2

    def __post_init__(self) -> None:
        if not FEWEST_TUNES <= self.tunes <= MOST_TUNES:
            raise UsageError(
                f"{self.tunes} tunes", where="--tunes", remedy=f"ask for {FEWEST_TUNES} to {MOST_TUNES} of each nation"
            )
        if not 0 <= self.seed <= LARGEST_SEED:
            raise UsageError(f"the seed {self.seed}", where="--seed", remedy=f"give 0 to {LARGEST_SEED}")
        if not 1 <= self.jobs <= MOST_JOBS:
            raise UsageError(f"{self.jobs} processes", where="--jobs", remedy=f"ask for 1 to {MOST_JOBS}")
        self.requests()

    def requests(self) -> list[Request]:
        """What is asked of the generator, one request a nation, in the nations' own order."""
        names = {find_region(name).name for name in self.regions}
        sampling = SamplingConfig(temperature=self.temperature)
        return [
            Request(region.name, self.tunes, self.seed, guidance=self.guidance, sampling=sampling)
            for region in REGIONS
            if region.name in names
        ]


def evaluate(config: EvaluationConfig, progress: Progress = lambda what, share: None) -> Report:
    """All figures of one model.

    Raises HoyoErrors of every kind: no model, no corpus, no held-out tunes.
    """
    path = find_model(config.model)
    generator = HoyoMusicGenerator.load(path)
    requests = config.requests()
    wish = requests[0].wish()
    asked = Asked(lowest=wish.lowest, highest=wish.highest)
    composing = SECONDS_PER_TUNE * config.tunes * len(requests) / config.jobs
    pace = _Pace(progress, (READING_SECONDS, LIKELIHOOD_SECONDS, composing, JUDGING_SECONDS, COMPARING_SECONDS))
    pace.tell("reading", 0)
    corpus = load_corpus(config.corpus)
    notices = [*corpus.report.notices]
    if corpus.hash != generator.provenance.get("corpus"):
        notices.append("the model learned from another corpus: it may know tunes that are held out here")
    pace.begin("likelihood")
    likelihood = _measure_likelihood(path, corpus, lambda share: pace.tell("likelihood", share))
    pace.begin("composing")
    made = _compose(path, requests, config.jobs, lambda share: pace.tell("composing", share))
    pace.begin("judging")
    material = _gather(generator, corpus, made, config.seed, notices)
    fidelity, styles = _judge(material)
    pace.begin("comparing")
    diversity, histograms, forms = _compare(material)
    index = _find_index(path, corpus, notices)
    report = Report(
        model=str(path),
        identity=generator.identity,
        corpus=corpus.hash,
        tunes=config.tunes,
        seed=config.seed,
        guidance=config.guidance,
        temperature=config.temperature,
        notices=tuple(notices),
        likelihood=likelihood,
        validity={name: count_valid(tunes, asked) for name, tunes in made.items()},
        held_out_validity=count_valid([tune for tunes in material.held_out.values() for tune in tunes]),
        fidelity=fidelity,
        styles=styles,
        obedience=tuple(measure_obedience(region, material.made[region.name]) for region in material.styled),
        diversity=diversity,
        histograms=histograms,
        forms=forms,
        quotation=tuple(measure_quotation(name, tunes, index) for name, tunes in material.made.items()),
        held_out_quotation=tuple(measure_quotation(name, tunes, index) for name, tunes in material.held_out.items()),
    )
    pace.tell("comparing", 1)
    return report


@dataclass(frozen=True, slots=True)
class _Material:
    """What is compared.

    `learned`: label -> name of the nations that are judged; `real` their tunes with melodies, `held_out` those
    kept from training, by nation; `styled` the nations by rule; `made`: nation -> generated tunes that sound.
    """

    learned: dict[int, str]
    styled: tuple[Region, ...]
    real: list[tuple[CorpusTune, Melody]]
    held_out: dict[str, list[Tune]]
    made: dict[str, list[Tune]]
    seed: int


def _gather(
    generator: HoyoMusicGenerator, corpus: Corpus, made: dict[str, list[Tune]], seed: int, notices: list[str]
) -> _Material:
    learned = _list_learned(generator, corpus, notices)
    held_out: dict[str, list[Tune]] = {}
    for entry in corpus.of_split(VALIDATION):
        if entry.region in learned:
            held_out.setdefault(learned[entry.region], []).append(entry.tune)
    # A tune of rests alone is music by the rules, but there is nothing in it to compare.
    sounding = {name: [tune for tune in tunes if read_melody(tune)] for name, tunes in made.items()}
    for name in [name for name, tunes in sounding.items() if not tunes]:
        notices.append(f"{name} is not judged: its tunes are silent")
        del sounding[name]
    return _Material(
        learned=learned,
        styled=tuple(region for region in map(find_region, sounding) if not generator.has_learned(region)),
        real=[(entry, read_melody(entry.tune)) for entry in corpus.tunes if entry.region in learned],
        held_out={name: held_out[name] for name in learned.values() if name in held_out},
        made=sounding,
        seed=seed,
    )


def _judge(material: _Material) -> tuple[tuple[Fidelity, ...], Confusion | None]:
    """What the two judges say, as far as there are two nations to choose from."""
    learned, made = material.learned, material.made
    judged = {name: [read_melody(tune) for tune in made[name]] for name in learned.values() if name in made}
    fidelity = judge_nations(material.real, learned, judged) if len(learned) > 1 and judged else ()
    if not material.styled or len(material.styled) + len(learned) < 2:
        return fidelity, None
    styled = {region.name: made[region.name] for region in material.styled}
    return fidelity, judge_styles(styled, [entry for entry, _ in material.real], learned, material.seed)


def _compare(material: _Material) -> tuple[tuple[Diversity, ...], tuple[FormRow, ...], tuple[FormRow, ...]]:
    """Diversity, histograms and forms of the learned nations that were made."""
    diversity: list[Diversity] = []
    histograms: list[FormRow] = []
    forms: list[FormRow] = []
    for label, name in material.learned.items():
        if name not in material.made:
            continue
        made = material.made[name]
        own = [(entry, melody) for entry, melody in material.real if entry.region == label]
        various = measure_diversity(
            name, [read_melody(tune) for tune in made], [melody for _, melody in own], material.seed
        )
        diversity += [] if various is None else [various]
        generated, real = [read_form(tune) for tune in made], [read_form(entry.tune) for entry, _ in own]
        histograms += compare_histograms(name, generated, real, material.seed)
        held_out = [form for (entry, _), form in zip(own, real, strict=True) if entry.split == VALIDATION]
        if held_out:
            forms += compare_forms(name, generated, held_out, real, material.seed)
    return tuple(diversity), tuple(histograms), tuple(forms)


class _Pace:
    """Shares of single stages as shares of the whole, by the seconds that each stage is known to take."""

    def __init__(self, progress: Progress, seconds: Sequence[float]) -> None:
        self._progress = progress
        self._seconds = seconds
        self._stage = 0

    def begin(self, what: str) -> None:
        """The stage before has ended."""
        self._stage += 1
        self.tell(what, 0)

    def tell(self, what: str, share: float) -> None:
        """So much of the present stage is done."""
        done = sum(self._seconds[: self._stage]) + share * self._seconds[self._stage]
        self._progress(what, done / sum(self._seconds))


def _measure_likelihood(path: Path, corpus: Corpus, advance: Callable[[float], None]) -> tuple[Likelihood, ...]:
    """By the model as it was trained, in torch; what the 5-gram holds is free again when this returns."""
    from hoyomusic.dataset import prepare

    loaded = load(path)
    vocabulary = Vocabulary.from_dict(loaded.vocab)
    return measure_likelihood(loaded.model(), prepare(corpus, vocabulary), vocabulary, advance)


def _compose(
    path: Path, requests: Sequence[Request], jobs: int, advance: Callable[[float], None]
) -> dict[str, list[Tune]]:
    """Nation -> tunes made of it; `advance` is told what share of all is done."""
    total, done = sum(request.count for request in requests), 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        advance(done / total)

    made: dict[str, list[Tune]] = {request.region: [] for request in requests}
    for composition in compose_all(path, requests, jobs, count):
        made[composition.region.name].append(composition.tune)
    return made


def _list_learned(generator: HoyoMusicGenerator, corpus: Corpus, notices: list[str]) -> dict[int, str]:
    """Label -> name of the nations that the model has learned and of which there are real tunes to compare with."""
    found = {}
    for region in REGIONS:
        if region.label and generator.has_learned(region):
            # Near duplicates count once: they always share a fold.
            count = len({entry.cluster for entry in corpus.tunes if entry.region == region.label})
            if count >= FEWEST_REAL:
                found[region.label] = region.name
            else:
                notices.append(f"{region.name} is not judged: the corpus has {count} tunes of it, not {FEWEST_REAL}")
    return found


def _find_index(path: Path, corpus: Corpus, notices: list[str]) -> NoveltyIndex:
    """What the model learned from: the index beside it, else the training tunes of this corpus."""
    found = find_index(path)
    if found is not None:
        return NoveltyIndex.load(found)
    notices.append("the model has no index of what it learned from: novelty is measured against this corpus")
    return build_index(corpus)


__all__ = ["EvaluationConfig", "Report", "evaluate"]
