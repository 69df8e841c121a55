"""Sound: the right pitches, the right level, a tail, and formats that other programs read."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import soundfile

from hoyomusic.arrangement import arrange
from hoyomusic.errors import MissingPartError, RenderError
from hoyomusic.regions import REGIONS, find_region
from hoyomusic.render import audio
from hoyomusic.score import Track, perform
from hoyomusic.tune import Bar, Key, Metre, Note, Pitch, Tune

NATIONS = [pytest.param(region, id=region.name) for region in REGIONS]


def tune_of(numbers: list[int], length: Fraction = Fraction(1, 4)) -> Tune:
    notes = tuple(Note((Pitch.from_midi(number),), length) for number in numbers)
    count = int(1 / length)
    return Tune(
        Key("C"), Metre(4, 4), tuple(Bar(notes[start : start + count]) for start in range(0, len(notes), count))
    )


SCALE = tune_of([60, 62, 64, 65, 67, 69, 71, 72])
SONG = tune_of([72, 74, 76, 79, 76, 74, 72, 69, 67, 69, 72, 74, 76, 74, 72, 72] * 2, Fraction(1, 8))
SONG = replace(SONG, bars=(replace(SONG.bars[0], opens=True), *SONG.bars[1:-1], replace(SONG.bars[-1], closes=2)))


def heard_pitch(samples: np.ndarray) -> int:
    """The MIDI pitch whose first three harmonics have the largest product in the spectrum."""
    size = 1 << 17
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), size))
    width = audio.SAMPLE_RATE / size

    def strength(frequency: float) -> float:
        low, high = int(frequency * 2 ** (-1 / 36) / width), int(frequency * 2 ** (1 / 36) / width)
        return spectrum[low : high + 1].max()

    def product(number: int) -> float:
        base = 440 * 2 ** ((number - 69) / 12)
        return np.prod([strength(base * harmonic) for harmonic in (1, 2, 3)])

    return max(range(48, 90), key=product)


@pytest.mark.parametrize("program", [73, 40, 46, 24, 21, 75])
def test_the_melody_is_heard_at_its_pitches(program):
    # Tried on ten programs x eight notes: chance would find 1 of 42 a note; the fundamental alone misses flutes.
    score = perform(SCALE, tempo=120)
    score = replace(score, tracks=(replace(score.melody, program=program),))
    samples = audio.render(score).mean(axis=1)
    half = audio.SAMPLE_RATE // 2
    found = [heard_pitch(samples[start + half // 8 : start + half]) for start in range(0, 8 * half, half)]
    assert found == [timed.pitch for timed in score.melody.notes]


def test_notes_start_when_the_score_says():
    score = perform(tune_of([72, 72, 72, 72]), tempo=60)
    samples = np.abs(audio.render(replace(score, tracks=(replace(score.melody, program=12),)))).max(axis=1)
    for timed in score.melody.notes:
        start = round(score.seconds(timed.onset_ticks) * audio.SAMPLE_RATE)
        assert samples[start + 240 : start + 2400].max() > 5 * samples[max(0, start - 240) : start + 1].max()


@pytest.mark.parametrize("region", NATIONS)
def test_the_mix_has_its_level_and_the_band_stays_below_the_melody(region):
    score = arrange(SONG, region)
    melody, band = (audio.render(replace(score, tracks=tracks)) for tracks in (score.tracks[:1], score.tracks[1:]))
    mix = audio.normalise(melody + band)  # voices add up without touching each other
    peak = 20 * np.log10(np.abs(mix).max())
    loudness = audio.loudness(mix)
    assert (loudness == pytest.approx(-16, abs=0.5) and peak <= -1) or peak == pytest.approx(-1, abs=0.1)
    assert 4 <= audio.loudness(melody) - audio.loudness(band) <= 14


def test_the_tail_fades_before_the_file_ends():
    score = arrange(SONG, find_region("Mondstadt"))
    samples = audio.render(score)
    end = score.seconds(score.end_tick)
    assert len(samples) / audio.SAMPLE_RATE == pytest.approx(end + 2, abs=0.1)
    ringing = np.abs(samples[round(end * audio.SAMPLE_RATE) :]).max()
    assert ringing > 0.001
    assert np.abs(samples[-audio.SAMPLE_RATE // 10 :]).max() < ringing / 100


def test_a_wave_file_is_48_khz_16_bit_stereo_and_never_clips():
    data = audio.to_bytes(arrange(SONG, find_region("Natlan")), ".wav")
    file = soundfile.SoundFile(io.BytesIO(data))
    assert (file.samplerate, file.channels, file.subtype) == (48_000, 2, "PCM_16")
    assert np.abs(file.read(dtype="int16").astype(int)).max() < 32_767


@pytest.mark.parametrize("suffix", audio.FORMATS)
def test_other_formats_hold_the_same_sound(suffix):
    samples = audio.normalise(audio.render(perform(SCALE)))
    read, rate = soundfile.read(io.BytesIO(audio.encode(samples, suffix)))
    assert (rate, read.shape[1]) == (48_000, 2)
    assert abs(len(read) - len(samples)) <= 2400
    # Encoders may delay by some samples: the best match within 50 ms counts.
    one, two = samples[: 2 * 48_000, 0], read[: 2 * 48_000, 0]
    match = np.fft.irfft(np.fft.rfft(one, 1 << 18).conj() * np.fft.rfft(two, 1 << 18))
    likeness = np.abs(match[:2400]).max() / np.sqrt((one**2).sum() * (two**2).sum())
    assert likeness > 0.98


def test_ogg_pages_are_alike_and_sound():
    samples = audio.render(perform(SCALE))
    first, second = audio.encode(samples, ".ogg"), audio.encode(samples, ".ogg")
    assert first == second
    assert first[14:18] == (1).to_bytes(4, "little")


def test_a_long_vorbis_stream_can_be_written():
    # Given at once, two minutes overflowed libsndfile's stack and ended the process.
    second = np.random.default_rng(0).normal(scale=0.1, size=(48_000, 2))
    data = audio.encode(np.tile(second, (120, 1)), ".ogg")
    assert soundfile.info(io.BytesIO(data)).frames == 120 * 48_000


def test_loudness_of_known_signals():
    # ITU-R BS.2217, case 1: a stereo 1 kHz sine of -23 dBFS measures -23 LUFS.
    time = np.arange(5 * 48_000) / 48_000
    sine = 10 ** (-23 / 20) * np.sin(2 * np.pi * 1000 * time)
    assert audio.loudness(np.stack([sine, sine], axis=1)) == pytest.approx(-23, abs=0.1)
    # The relative gate leaves out a passage 40 dB softer.
    both = np.concatenate([sine, sine / 100])
    assert audio.loudness(np.stack([both, both], axis=1)) == pytest.approx(-23, abs=0.3)
    # Pieces of the filter meet without a seam: one transform over everything gives the same.
    noise = np.random.default_rng(0).normal(scale=0.1, size=(200_000, 2))
    size = 1 << 19
    z = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    response = np.prod([np.polyval(b[::-1], z) / np.polyval(a[::-1], z) for b, a in audio.K_WEIGHTING], axis=0)
    power = (np.fft.irfft(np.fft.rfft(noise, size, axis=0) * response[:, None], size, axis=0)[:200_000] ** 2).sum(
        axis=1
    )
    blocks = [power[start : start + 19_200].mean() for start in range(0, 200_000 - 19_200 + 1, 4_800)]
    assert audio.loudness(noise) == pytest.approx(10 * np.log10(np.mean(blocks)) - 0.691, abs=1e-6)
    assert audio.loudness(np.zeros((48_000, 2))) == -np.inf
    assert audio.loudness(np.ones((100, 2))) == -np.inf


def test_silence_and_short_sounds_can_be_normalised():
    assert not audio.normalise(np.zeros((1000, 2))).any()
    short = audio.normalise(np.full((100, 2), 0.01))
    assert np.abs(short).max() == pytest.approx(10 ** (-1 / 20))


def test_a_score_without_notes_is_silence():
    score = perform(tune_of([60] * 4))
    silent = replace(score, tracks=(Track("melody", 73, ()),))
    assert not np.frombuffer(audio.to_bytes(silent, ".wav")[44:], "<i2").any()


def test_a_file_that_is_no_soundfont_is_refused(tmp_path):
    wrong = tmp_path / "wrong.sf2"
    wrong.write_bytes(b"RIFF, but nothing else")
    with pytest.raises(RenderError, match="wrong.sf2: is not a usable soundfont"):
        audio.render(perform(SCALE), soundfont=wrong)
    with pytest.raises(RenderError, match="absent.sf2: is not a usable soundfont: .*name an .sf2 file"):
        audio.render(perform(SCALE), soundfont=tmp_path / "absent.sf2")


def test_without_pretty_midi_there_is_no_soundfont(monkeypatch):
    monkeypatch.setattr(audio.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPartError, match="no soundfont is installed; pip install pretty_midi"):
        audio.default_soundfont()


def test_another_soundfont_can_be_named(tmp_path):
    copy = tmp_path / "mine.sf2"
    copy.symlink_to(audio.default_soundfont())
    assert np.array_equal(audio.render(perform(SCALE), soundfont=str(copy)), audio.render(perform(SCALE)))
