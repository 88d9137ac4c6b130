"""A built-in voice that speaks syllables without meaning: sound, and what the mouth does while it sounds.

Source and filter (Fant 1960): pulses of the glottis pass through the resonances of a vowel, noise through the band of a
consonant. All of it follows from a seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]

RATE_HZ, FRAME_HZ = 16_000, 24
SAMPLES = RATE_HZ // FRAME_HZ
"""Audio samples to a frame of pictures: 666."""

# Control tracks are drawn at this rate, then interpolated.
_CONTROL_HZ = 1000
_WINDOW, _HOP, _BINS = 320, 80, 1024
_F4_HZ = 3500.0
_BANDWIDTH_HZ = (80.0, 100.0, 150.0, 250.0)
# Shares of a period in which the glottis opens and closes (Rosenberg 1971, pulse C).
_OPENING, _CLOSING = 0.40, 0.16
# Level of the noise that is always there, height of the loudest moment, silence at the end.
FLOOR, PEAK, TAIL_S = 5e-4, 0.7, 0.35
_LEAD_S = (0.08, 0.25)
# How long the glottis, the resonances and the lips take from one sound to the next: deviations of a Gauss curve.
_SMOOTH_S = {"voiced": 0.008, "noise": 0.003, "formants": 0.015, "lips": 0.028, "pitch": 0.05}


class Sound(NamedTuple):
    """One sound: resonances F1 to F3, loudness of voice and noise (0 to 1), the noise's band, length, lips.

    `open` is 0 for lips that touch, 1 for the widest; `wide` 1 for lips at rest, below for rounded ones.
    """

    formants_hz: tuple[float, float, float]
    voiced: float
    noise: float
    band_hz: tuple[float, float]
    seconds: float
    open: float
    wide: float


_NONE = (3000.0, 1500.0)
_NEUTRAL = (500.0, 1500.0, 2500.0)
_PAUSE = Sound(_NEUTRAL, 0.0, 0.0, _NONE, 0.12, 0.0, 1.0)
# Resonances of men's vowels by Peterson and Barney 1952, rounded.
VOWELS = {
    "a": Sound((730, 1090, 2440), 1.0, 0.0, _NONE, 0.15, 1.0, 1.0),
    "e": Sound((530, 1840, 2480), 0.8, 0.0, _NONE, 0.13, 0.6, 1.12),
    "i": Sound((270, 2290, 3010), 0.5, 0.0, _NONE, 0.12, 0.32, 1.22),
    "o": Sound((570, 840, 2410), 0.8, 0.0, _NONE, 0.14, 0.65, 0.68),
    "u": Sound((300, 870, 2240), 0.5, 0.0, _NONE, 0.12, 0.30, 0.52),
}
CONSONANTS: dict[str, tuple[Sound, ...]] = {
    "": (),
    "m": (Sound((280, 1000, 2200), 0.30, 0.0, _NONE, 0.075, 0.0, 1.0),),
    "n": (Sound((280, 1700, 2600), 0.30, 0.0, _NONE, 0.065, 0.12, 1.0),),
    "l": (Sound((360, 1300, 2700), 0.45, 0.0, _NONE, 0.060, 0.30, 1.0),),
    "w": (Sound((300, 700, 2300), 0.35, 0.0, _NONE, 0.070, 0.15, 0.45),),
    "s": (Sound(_NEUTRAL, 0.0, 0.16, (5500, 1300), 0.090, 0.10, 1.15),),
    "sh": (Sound(_NEUTRAL, 0.0, 0.22, (3000, 900), 0.090, 0.18, 0.65),),
    "f": (Sound(_NEUTRAL, 0.0, 0.08, (4500, 2500), 0.080, 0.04, 1.0),),
    "v": (Sound((300, 1100, 2400), 0.25, 0.05, (4000, 2500), 0.065, 0.04, 1.0),),
    "z": (Sound((300, 1600, 2600), 0.20, 0.12, (5500, 1300), 0.075, 0.10, 1.1),),
    "p": (Sound(_NEUTRAL, 0.0, 0.0, _NONE, 0.065, 0.0, 1.0), Sound(_NEUTRAL, 0.0, 0.4, (900, 700), 0.014, 0.15, 1.0)),
    "b": (
        Sound((250, 900, 2200), 0.10, 0.0, _NONE, 0.055, 0.0, 1.0),
        Sound((400, 1000, 2300), 0.3, 0.2, (700, 500), 0.010, 0.2, 1.0),
    ),
    "t": (Sound(_NEUTRAL, 0.0, 0.0, _NONE, 0.055, 0.12, 1.0), Sound(_NEUTRAL, 0.0, 0.4, (4200, 1500), 0.016, 0.2, 1.0)),
    "d": (
        Sound((250, 1700, 2600), 0.10, 0.0, _NONE, 0.045, 0.12, 1.0),
        Sound((350, 1700, 2600), 0.3, 0.2, (3800, 1500), 0.010, 0.2, 1.0),
    ),
    "k": (Sound(_NEUTRAL, 0.0, 0.0, _NONE, 0.060, 0.18, 1.0), Sound(_NEUTRAL, 0.0, 0.4, (1800, 600), 0.020, 0.25, 1.0)),
}
_CODAS = ("", "", "", "n", "m", "s", "l")


@dataclass(frozen=True)
class Voice:
    """What makes one speaker's voice: pitch in Hz, length of the throat (as a factor of resonances), pace, breath."""

    pitch_hz: float
    formant_factor: float
    pace: float
    breath: float
    liveliness: float

    @staticmethod
    def of(random: np.random.Generator) -> Voice:
        """Draw a voice: low with a long throat, or high with a short one."""
        high = random.uniform() < 0.5
        pitch_hz = random.uniform(165, 235) if high else random.uniform(85, 140)
        factor = random.uniform(1.08, 1.20) if high else random.uniform(0.93, 1.04)
        pace, breath, liveliness = random.uniform(0.85, 1.2), random.uniform(0.01, 0.05), random.uniform(0.6, 1.4)
        return Voice(float(pitch_hz), float(factor), float(pace), float(breath), float(liveliness))


@dataclass(frozen=True)
class Speech:
    """What is said: `audio` float32 (frames, 666) in -1..1; `lips` float32 (frames, 2), open and wide as in `Sound`.

    `words` are words, or syllables.
    """

    audio: Floats
    lips: Floats
    words: tuple[str, ...]


def speak(voice: Voice, frames: int, random: np.random.Generator) -> Speech:
    """Say words of one to three random syllables with pauses between them for so many frames; silence at the end."""
    seconds = frames * SAMPLES / RATE_HZ
    sounds, syllables = _words(voice, seconds, random)
    ends = np.cumsum([sound.seconds for sound in sounds])
    times = (np.arange(int(np.ceil(seconds * _CONTROL_HZ)) + 1) + 0.5) / _CONTROL_HZ
    which = np.searchsorted(ends, times)
    tracks = np.array([_row(sound) for sound in (*sounds, _PAUSE)])[which].T
    tracks[:3] *= voice.formant_factor
    smooth = [*["formants"] * 3, "voiced", "noise", "noise", "noise", "lips", "lips"]
    formants, (voiced, noise, centre, width), lips = np.split(
        np.stack([_smoothed(track, _SMOOTH_S[of]) for track, of in zip(tracks, smooth, strict=True)]), (3, 7)
    )
    at = np.arange(frames * SAMPLES) / RATE_HZ
    pitch_hz = np.interp(at, times, _pitch(voice, which, len(sounds), random))
    hiss = random.standard_normal(len(at))
    glottis = _pulses(pitch_hz) + voice.breath * hiss
    voiced, noise = (np.interp(at, times, loudness) for loudness in (voiced, noise))
    middles = np.arange(0, len(at) + 1, _HOP) / RATE_HZ
    hz = np.fft.rfftfreq(_BINS, 1 / RATE_HZ)
    throat = _resonances(hz, np.stack([np.interp(middles, times, track) for track in formants], axis=1))
    band = np.interp(middles, times, centre)[:, None], np.interp(middles, times, width)[:, None]
    teeth = np.exp(-0.5 * ((hz - band[0]) / band[1]) ** 2)
    sound = _filtered(glottis * voiced, throat) + _filtered(hiss * noise, teeth)
    sound *= PEAK / max(float(np.abs(sound).max()), 1e-9)
    sound += FLOOR * random.standard_normal(len(sound))
    audio = sound.reshape(frames, SAMPLES).astype(np.float32)
    return Speech(audio, _by_frame(lips, times, frames), tuple(syllables))


def smooth_lips(starts_s: list[float], targets: Floats, frames: int) -> Floats:
    """Return lips float32 (frames, 2) that go from target to target (count, 2), each from its start in seconds on."""
    times = (np.arange(int(np.ceil(frames * SAMPLES / RATE_HZ * _CONTROL_HZ)) + 1) + 0.5) / _CONTROL_HZ
    tracks = targets[np.maximum(np.searchsorted(starts_s, times, side="right") - 1, 0)].T
    return _by_frame(np.stack([_smoothed(track, _SMOOTH_S["lips"]) for track in tracks]), times, frames)


def _by_frame(lips: Floats, times: Floats, frames: int) -> Floats:
    """Return two control tracks as means over each frame, float32 (frames, 2)."""
    at = np.arange(frames * SAMPLES) / RATE_HZ
    tracks = [np.interp(at, times, track).reshape(frames, SAMPLES).mean(axis=1) for track in lips]
    return np.stack(tracks, axis=1).astype(np.float32)


def _words(voice: Voice, seconds: float, random: np.random.Generator) -> tuple[list[Sound], list[str]]:
    """Return sounds that begin and end in silence, and the syllables that they make."""
    sounds = [_PAUSE._replace(seconds=float(random.uniform(*_LEAD_S)))]
    syllables: list[str] = []
    spent, room = sounds[0].seconds, seconds - TAIL_S
    while True:
        word, names = [], []
        for _ in range(int(random.integers(1, 4))):
            name, said = _syllable(voice, random)
            names.append(name)
            word += said
        length = sum(sound.seconds for sound in word)
        if spent + length > room:
            return sounds, syllables
        pause = float(random.uniform(0.04, 0.12) if random.uniform() < 0.6 else random.uniform(0.15, 0.35))
        sounds += [*word, _PAUSE._replace(seconds=pause)]
        syllables += names
        spent += length + pause


def _syllable(voice: Voice, random: np.random.Generator) -> tuple[str, list[Sound]]:
    onset, vowel = (str(random.choice(list(names))) for names in (CONSONANTS, VOWELS))
    coda, stress = str(random.choice(_CODAS)), float(random.uniform(0.75, 1.0))
    middle = VOWELS[vowel]
    middle = middle._replace(voiced=middle.voiced * stress, open=middle.open * stress)
    sounds = [*CONSONANTS[onset], middle, *CONSONANTS[coda]]
    stretched = [one._replace(seconds=one.seconds * float(random.uniform(0.85, 1.25)) / voice.pace) for one in sounds]
    return onset + vowel + coda, stretched


def _row(sound: Sound) -> tuple[float, ...]:
    return (*sound.formants_hz, sound.voiced, sound.noise, *sound.band_hz, sound.open, sound.wide)


def _smoothed(track: Floats, deviation_s: float) -> Floats:
    """Return a control track under a Gauss curve, its ends held."""
    deviation = deviation_s * _CONTROL_HZ
    reach = int(np.ceil(3 * deviation))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    return np.convolve(np.pad(track, reach, mode="edge"), weights / weights.sum(), mode="valid")


def _pitch(voice: Voice, which: NDArray[np.int64], count: int, random: np.random.Generator) -> Floats:
    """Return pitch in Hz on the control grid: it falls over the utterance, and each sound has an accent of its own."""
    accents = random.normal(0, 0.06 * voice.liveliness, count + 1)[which]
    fall = np.linspace(0.08, -0.10, len(which)) * voice.liveliness
    return voice.pitch_hz * (1 + fall + _smoothed(accents, _SMOOTH_S["pitch"]))


def _pulses(pitch_hz: Floats) -> Floats:
    """Return the change of the glottis' flow (Rosenberg 1971, pulse C), of about the same height at every pitch."""
    phase = np.cumsum(pitch_hz / RATE_HZ) % 1.0
    opening = 0.5 * (1 - np.cos(np.pi * phase / _OPENING))
    closing = np.cos(0.5 * np.pi * (phase - _OPENING) / _CLOSING)
    flow = np.where(phase < _OPENING, opening, np.where(phase < _OPENING + _CLOSING, closing, 0.0))
    return np.diff(flow, prepend=0.0) * RATE_HZ / pitch_hz / 10


def _resonances(hz: Floats, formants_hz: Floats) -> Floats:
    """Return the throat's response at each moment, complex (moments, bins): resonances of second order in a row."""
    response = np.ones((len(formants_hz), len(hz)), dtype=np.complex128)
    centres = [*formants_hz.T[:, :, None], np.full((len(formants_hz), 1), _F4_HZ)]
    for centre, bandwidth in zip(centres, _BANDWIDTH_HZ, strict=True):
        response *= centre**2 / (centre**2 - hz**2 + 1j * hz * bandwidth)
    return response


def _filtered(sound: Floats, response: Floats) -> Floats:
    """Return a sound through responses that change every hop: Hann windows, padded, filtered, added up."""
    padded = np.pad(sound, (_WINDOW // 2, _WINDOW + _BINS))
    starts = np.arange(len(response)) * _HOP
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)) * (2 * _HOP / _WINDOW)
    pieces = np.fft.rfft(padded[starts[:, None] + np.arange(_WINDOW)] * window, _BINS)
    made = np.fft.irfft(pieces * response, _BINS)
    out = np.zeros(len(padded))
    for start, piece in zip(starts, made, strict=True):
        out[start : start + _BINS] += piece
    return out[_WINDOW // 2 : _WINDOW // 2 + len(sound)]
