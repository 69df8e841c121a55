"""A score as sound: midirenderer plays the MIDI file with a soundfont, soundfile writes the samples.

The soundfont is the one that pretty_midi brings along, used where it lies. The mix is brought to
-16 LUFS (ITU-R BS.1770-4, as streaming services ask for) or to a peak of -1 dBFS, whichever is lower.
48 kHz, 16 bit, stereo; instruments fade out before the file ends.
"""

from __future__ import annotations

import importlib.util
import io
import os
import wave
import zlib
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from hoyomusic.errors import MissingPartError, RenderError
from hoyomusic.render import midi
from hoyomusic.score import Score
from hoyomusic.text import printable

SAMPLE_RATE = 48_000
TARGET_LUFS = -16.0
PEAK_DBFS = -1.0
SOUNDFONT = "TimGM6mb.sf2"
# Each second takes 3 MB of memory until it is written.
LONGEST = 1200

# How soundfile calls each suffix: file format, sample format.
FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}

MP3_OPTIONS = {"bitrate_mode": "CONSTANT", "compression_level": 0.5}  # 160 kbit/s

# ITU-R BS.1770-4: K weighting at 48 kHz as two second-order sections (b, a), blocks of 400 ms that
# overlap by three quarters, an absolute gate at -70 LUFS and a relative one 10 LU below the mean.
K_WEIGHTING = (
    ((1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585)),
    ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621)),
)
BLOCK, HOP = 19_200, 4_800
ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0
PIECE, OVERLAP = 1 << 16, 1 << 13


def to_bytes(score: Score, suffix: str, *, soundfont: str | os.PathLike[str] | None = None) -> bytes:
    """The sound file for one of the suffixes in `FORMATS`.

    Raises RenderError for a soundfont that cannot be used or a score of more than `LONGEST` seconds,
    MissingPartError without any soundfont.
    """
    seconds = score.seconds(score.end_tick)
    if seconds > LONGEST:
        raise RenderError(f"would last {seconds:.0f} seconds, more than {LONGEST}", remedy="write it as .mid instead")
    return encode(normalise(render(score, soundfont=soundfont)), suffix, score.title, score.provenance)


def render(score: Score, *, soundfont: str | os.PathLike[str] | None = None) -> np.ndarray:
    """The samples as the synthesiser makes them: (frames, 2), float64, full scale 1.0."""
    import midirenderer

    path = default_soundfont() if soundfont is None else Path(soundfont)
    try:
        sound = _soundfont(path)
        data = midirenderer.render_wave_from(sound, midi.to_bytes(score))
    except (OSError, ValueError, RuntimeError) as error:
        raise RenderError(f"is not a usable soundfont: {error}", where=str(path), remedy="name an .sf2 file") from error
    with wave.open(io.BytesIO(data)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        return samples.reshape(-1, file.getnchannels()) / 32_768.0


def default_soundfont() -> Path:
    """Where pretty_midi keeps its soundfont; raises MissingPartError where it has none."""
    package = importlib.util.find_spec("pretty_midi")
    path = Path(package.origin).parent / SOUNDFONT if package and package.origin else None
    if path is None or not path.is_file():
        raise MissingPartError("no soundfont is installed", remedy="pip install pretty_midi, or name an .sf2 file")
    return path


@lru_cache(maxsize=1)
def _soundfont(path: Path) -> bytes:
    return path.read_bytes()


def normalise(samples: np.ndarray) -> np.ndarray:
    """The samples, (frames, 2), at -16 LUFS or with a peak of -1 dBFS, whichever is lower; silence stays."""
    peak = float(np.abs(samples).max(initial=0.0))
    if peak == 0.0:
        return samples
    gain = 10 ** (PEAK_DBFS / 20) / peak
    measured = loudness(samples)
    if measured > ABSOLUTE_GATE:
        gain = min(gain, 10 ** ((TARGET_LUFS - measured) / 20))
    return samples * gain


def loudness(samples: np.ndarray) -> float:
    """Integrated loudness in LUFS of (frames, channels) at 48 kHz; -inf for silence or under 400 ms.

    The K filter is applied through its frequency response in overlapping pieces (overlap-save); its
    impulse response has died down to 1e-17 within the overlap.
    """
    frames = len(samples)
    if frames < BLOCK:
        return -np.inf
    step = PIECE - OVERLAP
    pieces = -(-frames // step)
    padded = np.zeros((OVERLAP + pieces * step, samples.shape[1]))
    padded[OVERLAP : OVERLAP + frames] = samples
    response = _k_weighting()
    power = np.zeros(pieces * step)
    for channel in padded.T:
        for start in range(0, pieces * step, step):
            filtered = np.fft.irfft(np.fft.rfft(channel[start : start + PIECE]) * response, PIECE)
            power[start : start + step] += filtered[OVERLAP:] ** 2
    power = power[:frames]
    total = np.concatenate([[0.0], np.cumsum(power)])
    starts = np.arange(0, frames - BLOCK + 1, HOP)
    blocks = (total[starts + BLOCK] - total[starts]) / BLOCK
    blocks = blocks[blocks > _power(ABSOLUTE_GATE)]
    if not len(blocks):
        return -np.inf
    blocks = blocks[blocks > blocks.mean() * 10 ** (RELATIVE_GATE / 10)]
    return float(10 * np.log10(blocks.mean()) - 0.691)


@cache
def _k_weighting() -> np.ndarray:
    """The K filter's response at the frequencies of one piece: (PIECE // 2 + 1,), complex."""
    z = np.exp(-2j * np.pi * np.arange(PIECE // 2 + 1) / PIECE)
    response = np.ones_like(z)
    for b, a in K_WEIGHTING:
        response *= np.polyval(b[::-1], z) / np.polyval(a[::-1], z)
    return response


def _power(lufs: float) -> float:
    return 10 ** ((lufs + 0.691) / 10)


def encode(samples: np.ndarray, suffix: str, title: str = "", comment: str = "") -> bytes:
    """Samples in a sound file format, with title and comment as it holds them; (frames, 2) in, bytes out."""
    import soundfile

    container, kind = FORMATS[suffix]
    options = MP3_OPTIONS if suffix == ".mp3" else {}
    # Two faults of libsndfile 1.2.2: it turns 16-bit samples into noise when it writes MP3, and it
    # overflows the stack when it is given a long Vorbis stream at once.
    data = np.round(samples * 32_767).astype("<i2") if suffix != ".mp3" else samples.astype("<f4")
    file = io.BytesIO()
    shape = {"samplerate": SAMPLE_RATE, "channels": data.shape[1], "format": container, "subtype": kind}
    with soundfile.SoundFile(file, "w", **shape, **options) as writer:
        for name, text in (("title", printable(title)), ("comment", printable(comment, midi.LONGEST_TEXT))):
            # A third: what it writes into an MP3 file as Latin-1 is UTF-8.
            if text and (suffix != ".mp3" or text.isascii()):
                setattr(writer, name, text)
        for start in range(0, len(data), SAMPLE_RATE):
            writer.write(data[start : start + SAMPLE_RATE])
    return _with_fixed_serial(file.getvalue()) if suffix == ".ogg" else file.getvalue()


def _with_fixed_serial(data: bytes) -> bytes:
    """An Ogg stream whose pages carry serial number 1 in place of a random one (RFC 3533, section 6)."""
    pages = bytearray(data)
    start = 0
    while start < len(pages):
        segments = pages[start + 26]
        stop = start + 27 + segments + sum(pages[start + 27 : start + 27 + segments])
        pages[start + 14 : start + 18] = (1).to_bytes(4, "little")
        pages[start + 22 : start + 26] = bytes(4)
        pages[start + 22 : start + 26] = _ogg_checksum(bytes(pages[start:stop])).to_bytes(4, "little")
        start = stop
    return bytes(pages)


def _ogg_checksum(page: bytes) -> int:
    """CRC-32 with Ogg's bit order and start value: zlib's, with all bits mirrored and its inversions undone."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
