"""Random numbers that depend on the seed and the user only.

Each user has a SplitMix64 sequence of their own (Steele, Lea, Flood: "Fast splittable pseudorandom
number generators", OOPSLA 2014, figure 13). So what a user does depends neither on the other users
nor on how they are spread over processes, and a scenario changes nothing before its date.
"""

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31)
_HALF, _LOW_HALF = np.uint64(32), np.uint64(0xFFFFFFFF)


def mix(words: Words) -> Words:
    """A new array of well mixed words."""
    mixed = (words ^ (words >> _SHIFTS[0])) * _FACTORS[0]
    mixed = (mixed ^ (mixed >> _SHIFTS[1])) * _FACTORS[1]
    return mixed ^ (mixed >> _SHIFTS[2])


def streams(seed: int, purpose: int, numbers: NDArray[np.integer]) -> Words:
    """The start of one sequence per number; other purposes have other sequences."""
    key = mix(np.array([seed % 2**64], dtype=np.uint64) + _GAMMA)
    key = mix(key + np.array([purpose], dtype=np.uint64) * _GAMMA)
    return mix(mix(key + numbers.astype(np.uint64) * _GAMMA) ^ key)


def draw(states: Words, which: NDArray[np.integer] | slice = slice(None)) -> Words:
    """The next word of each sequence, or of those at the places `which`; moves on in place."""
    states[which] += _GAMMA
    return mix(states[which])


def below(words: Words, limit: int) -> NDArray[np.int64]:
    """Whole numbers of 0 to limit - 1 (at most 2**32) from the high halves of the words."""
    return (((words >> _HALF) * np.uint64(limit)) >> _HALF).astype(np.int64)


def exponential(words: Words) -> NDArray[np.float64]:
    """Exponential values of mean 1 from the low halves of the words."""
    return -np.log(((words & _LOW_HALF).astype(np.float64) + 0.5) * 2.0**-32)


def uniform(words: Words) -> NDArray[np.float64]:
    """Values in [0, 1)."""
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
