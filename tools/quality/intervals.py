"""Paired bootstrap: how sure a mean, a difference or a ratio is.

What is resampled are clusters, since what is inside of one depends on each other: the questions of
a case, the tokens of a block of text. A cluster has a sum and a count; the estimate is the sum of
sums by the sum of counts. Two policies are compared on the same clusters, resampled together.
Intervals are the percentiles 2.5 and 97.5 of the resampled estimates. Source: Efron & Tibshirani
1993, chapters 8 and 13.
"""
import dataclasses
import zlib

import numpy as np

ROUNDS = 2000


@dataclasses.dataclass(frozen=True)
class Clusters:
    """Sums and counts of the same clusters in the same order for every policy."""
    sums: np.ndarray
    counts: np.ndarray

    @property
    def mean(self) -> float:
        return float(self.sums.sum() / self.counts.sum())

    @classmethod
    def of(cls, groups) -> "Clusters":
        """From lists of values, one list a cluster."""
        groups = [np.asarray(group, dtype=np.float64) for group in groups]
        return cls(np.array([group.sum() for group in groups]),
                   np.array([float(len(group)) for group in groups]))


def resamples(count: int, seed: int, name: str, rounds: int = ROUNDS) -> np.ndarray:
    """Indices [rounds, count]; the same for the same seed and name, so that pairs stay pairs."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), count])
    return rng.integers(0, count, size=(rounds, count))


def resampled_means(clusters: Clusters, indices: np.ndarray) -> np.ndarray:
    return clusters.sums[indices].sum(axis=1) / clusters.counts[indices].sum(axis=1)


def interval(estimates: np.ndarray) -> list[float] | None:
    """The middle 95 % of the estimates; None where some are not finite."""
    if not np.isfinite(estimates).all():
        return None
    return [float(x) for x in np.percentile(estimates, [2.5, 97.5])]


def describe(clusters: Clusters, reference: Clusters | None, indices: np.ndarray) -> dict:
    """Mean with its interval; difference from the reference and ratio to it with theirs."""
    means = resampled_means(clusters, indices)
    found = {"mean": clusters.mean, "interval": interval(means)}
    if reference is None:
        return found
    others = resampled_means(reference, indices)
    found["difference"] = clusters.mean - reference.mean
    found["difference_interval"] = interval(means - others)
    with np.errstate(divide="ignore", invalid="ignore"):
        found["ratio"] = clusters.mean / reference.mean if reference.mean else None
        found["ratio_interval"] = interval(means / others)
    return found


def describe_percentile(values: np.ndarray, percent: float, block: int,
                        indices: np.ndarray) -> dict:
    """A percentile of tokens with its interval over blocks; the rank is rounded up."""
    found = {"mean": float(np.percentile(values, percent, method="inverted_cdf"))}
    blocks = [values[i:i + block] for i in range(0, len(values), block)]
    if len({len(b) for b in blocks}) == 1:
        drawn = np.stack(blocks)[indices[:400]].reshape(min(len(indices), 400), -1)
        found["interval"] = interval(np.percentile(drawn, percent, axis=1,
                                                   method="inverted_cdf"))
    return found
