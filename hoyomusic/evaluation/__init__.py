"""What a model is worth, in figures: how well it foretells, how right, how faithful, how various, how new its tunes are.

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
from hoyomusic.corpus import Corpus, load_corpus
from hoyomusic.corpus.split import VALIDATION
from hoyomusic.errors import UsageError
from hoyomusic.evaluation.diversity import measure_diversity
from hoyomusic.evaluation.form import compare_forms, compare_histograms, read_form
from hoyomusic.evaluation.generation import SEED_STEP, compose_all
from hoyomusic.evaluation.judge import FEWEST_REAL, judge_nations
from hoyomusic.evaluation.likelihood import Likelihood, measure_likelihood
from hoyomusic.evaluation.melody import read_melody
from hoyomusic.evaluation.quotation import measure_quotation
from hoyomusic.evaluation.report import Report
from hoyomusic.evaluation.styled import judge_styles, measure_obedience
from hoyomusic.evaluation.validity import Asked, count_valid
from hoyomusic.generator import DEFAULT_RANGE, LARGEST_SEED, HoyoMusicGenerator, Request
from hoyomusic.novelty import NoveltyIndex, build_index, find_index
from hoyomusic.regions import REGIONS, find_region
from hoyomusic.sampling import SamplingConfig
from hoyomusic.tune import Tune
from hoyomusic.vocab import Vocabulary

# Of a nation; fewer cannot be compared with each other, and more no run of ours needs.
FEWEST_TUNES, MOST_TUNES = 5, 10_000

# What a run takes, in seconds on one core of 2020, for the bar that shows how far it is.
READING_SECONDS = 5.0
LIKELIHOOD_SECONDS = 60.0
SECONDS_PER_TUNE = 0.1
JUDGING_SECONDS = 20.0
COMPARING_SECONDS = 25.0

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
        if not 0 <= self.seed <= LARGEST_SEED // SEED_STEP - 1:
            raise UsageError(
                f"the seed {self.seed}", where="--seed", remedy=f"give 0 to {LARGEST_SEED // SEED_STEP - 1}"
            )
        if not 1 <= self.jobs <= 64:
            raise UsageError(f"{self.jobs} processes", where="--jobs", remedy="ask for 1 to 64")
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
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        pace.tell("composing", done / (config.tunes * len(requests)))

    made: dict[str, list[Tune]] = {request.region: [] for request in requests}
    for composition in compose_all(path, requests, config.jobs, advance):
        made[composition.region.name].append(composition.tune)

    pace.begin("judging")
    regions = [find_region(name) for name in made]
    styled = {region.name: region for region in regions if not generator.has_learned(region)}
    learned = _list_learned(generator, corpus, notices)
    real = [(entry, read_melody(entry.tune)) for entry in corpus.tunes if entry.region in learned]
    judged = {name: [read_melody(tune) for tune in made[name]] for name in learned.values() if name in made}
    can_judge = len(learned) > 1
    fidelity = judge_nations(real, learned, judged) if can_judge and judged else ()
    styles = (
        judge_styles({name: made[name] for name in styled}, [entry for entry, _ in real], learned, config.seed)
        if styled and len(styled) + len(learned) > 1
        else None
    )

    pace.begin("comparing")
    diversity, histograms, forms = [], [], []
    for label, name in learned.items():
        if name not in made:
            continue
        own = [(entry, melody, read_form(entry.tune)) for entry, melody in real if entry.region == label]
        found = measure_diversity(name, judged[name], [melody for _, melody, _ in own], config.seed)
        diversity += [] if found is None else [found]
        traits = [read_form(tune) for tune in made[name]]
        histograms += compare_histograms(name, traits, [form for _, _, form in own], config.seed)
        held_out = [form for entry, _, form in own if entry.split == VALIDATION]
        if held_out:
            forms += compare_forms(name, traits, held_out, [form for _, _, form in own], config.seed)
    index = _find_index(path, corpus, notices)
    held_out_tunes = {
        name: [entry.tune for entry in corpus.of_split(VALIDATION) if entry.region == label]
        for label, name in learned.items()
    }
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
        validity={
            name: count_valid(tunes, Asked(lowest=DEFAULT_RANGE[0], highest=DEFAULT_RANGE[1]))
            for name, tunes in made.items()
        },
        held_out_validity=count_valid([tune for tunes in held_out_tunes.values() for tune in tunes]),
        fidelity=fidelity,
        styles=styles,
        obedience=tuple(measure_obedience(region, made[name]) for name, region in styled.items()),
        diversity=tuple(diversity),
        histograms=tuple(histograms),
        forms=tuple(forms),
        quotation=tuple(measure_quotation(name, tunes, index) for name, tunes in made.items()),
        held_out_quotation=tuple(
            measure_quotation(name, tunes, index) for name, tunes in held_out_tunes.items() if tunes
        ),
    )
    pace.tell("comparing", 1)
    return report


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
    from hoyomusic.training import prepare

    loaded = load(path)
    vocabulary = Vocabulary.from_dict(loaded.vocab)
    return measure_likelihood(loaded.model(), prepare(corpus, vocabulary), vocabulary, advance)


def _list_learned(generator: HoyoMusicGenerator, corpus: Corpus, notices: list[str]) -> dict[int, str]:
    """Label -> name of the nations that the model has learned and of which there are real tunes to compare with."""
    found = {}
    for region in REGIONS:
        if region.label and generator.has_learned(region):
            count = sum(entry.region == region.label for entry in corpus.tunes)
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
