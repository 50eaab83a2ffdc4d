"""Book text: every policy's next-token distributions against the full f16 cache's.

A part of the text is read once with the full cache, whose logits of the second half are kept; then
under each configuration, teacher-forced over the same tokens. `cormorant eval` does the same in
lockstep and gives the same figures.
"""
import numpy as np

import runtime
from configuration import Configuration, FULL_F16, Setting, engine_for, model_facts, usage


def part_of_text(ids: np.ndarray, index: int, parts: int, tokens: int) -> np.ndarray:
    """Part `index` of `parts` that are spread evenly; the first does not begin the text."""
    if len(ids) < tokens:
        raise ValueError(f"the text has {len(ids)} tokens, a part of it would have {tokens}")
    start = (index + 1) * len(ids) // (parts + 1)
    start = min(start, len(ids) - tokens)
    return np.ascontiguousarray(ids[start:start + tokens])


def log_sum_exp(logits: np.ndarray) -> float:
    top = float(logits.max())
    return top + float(np.log(np.exp(logits - np.float32(top)).sum(dtype=np.float64)))


class Comparison:
    """Divergence of each scored token, in the order of the text."""

    def __init__(self, full: np.ndarray, next_ids: np.ndarray):
        self.full, self.next_ids = full, next_ids
        self.kl, self.delta_nll = np.zeros(len(full)), np.full(len(full), np.nan)
        self.same_first = np.zeros(len(full), dtype=bool)

    def add(self, index: int, logits: np.ndarray) -> None:
        """The logits after scored token `index`."""
        full = self.full[index]
        norm_full, norm = log_sum_exp(full), log_sum_exp(logits)
        share = np.exp(full - np.float32(norm_full))
        self.kl[index] = float(np.dot(share, full - logits)) - norm_full + norm
        self.same_first[index] = full.argmax() == logits.argmax()
        if index < len(self.next_ids):  # After the last token nothing follows.
            true = self.next_ids[index]
            self.delta_nll[index] = (norm - float(logits[true])) - (norm_full - float(full[true]))


def read(setting: Setting, configuration: Configuration, ids: np.ndarray, on_scored) -> dict:
    """Reads a part; on_scored(index, logits) for each token of its second half."""
    half = len(ids) // 2
    with engine_for(setting, configuration, len(ids),
                    model_facts(setting)["bytes_per_token"]) as engine:
        with runtime.Session(engine, configuration.policy) as session:
            session.append(ids[:half])
            session.score(ids[half:], on_scored)
            return usage(engine, session)


class Part:
    """One part of the text and what the full cache says of it."""

    def __init__(self, setting: Setting, index: int, ids: np.ndarray):
        self.setting, self.index, self.ids = setting, index, ids
        half = len(ids) // 2
        self.full = np.empty((len(ids) - half, model_facts(setting)["vocab"]), dtype=np.float32)
        read(setting, FULL_F16, ids, self.full.__setitem__)

    def run(self, configuration: Configuration) -> dict:
        """Divergence under a configuration, token by token."""
        record = {"task": "book", "case": self.index}
        comparison = Comparison(self.full, self.ids[len(self.ids) // 2 + 1:])
        try:
            used = read(self.setting, configuration, self.ids, comparison.add)
        except runtime.RuntimeFailure as failure:
            if not failure.is_lack_of_room:
                raise
            return {**record, "failed": str(failure)}
        return {**record, **used, "kl": comparison.kl, "delta_nll": comparison.delta_nll,
                "same_first": comparison.same_first}
