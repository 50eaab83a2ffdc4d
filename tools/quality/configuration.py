"""What is compared: a policy, a type of rows, a budget; and what came of a run under it."""
import dataclasses
import functools
import pathlib

import runtime

FULL = "none"  # The policy that keeps every row.


@dataclasses.dataclass(frozen=True, order=True)
class Configuration:
    """`budget` is in percent of the bytes that all rows take as f16; 0: no cap."""
    rows: str
    budget: float
    policy: str

    def cap(self, tokens: int, bytes_per_token: int) -> int:
        """The cap on rows and metadata together, for so many tokens."""
        return int(self.budget / 100 * tokens * bytes_per_token)


FULL_F16 = Configuration("f16", 0, FULL)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all runs share; travels to the worker processes."""
    library: pathlib.Path
    model: pathlib.Path
    threads: int = 1
    chunk: int = 0  # Tokens read in one step; 0: chosen for the cap.


@functools.cache
def opened(setting: Setting) -> tuple[runtime.Library, runtime.Tokenizer]:
    """The library and the model's tokenizer, once a process."""
    library = runtime.Library(setting.library)
    return library, runtime.Tokenizer(library, setting.model)


def engine_for(setting: Setting, configuration: Configuration, tokens: int,
               bytes_per_token: int) -> runtime.Engine:
    """An engine whose cap is the budget of a text of so many tokens."""
    library, _ = opened(setting)
    return runtime.Engine(library, setting.model, cap=configuration.cap(tokens, bytes_per_token),
                          rows=configuration.rows, chunk=setting.chunk, threads=setting.threads,
                          policy=configuration.policy)


@functools.cache
def model_facts(setting: Setting) -> dict:
    """Sizes of the model that the comparison needs."""
    with runtime.Engine(opened(setting)[0], setting.model, all_logits=False) as engine:
        return {"bytes_per_token": engine.info.kv_bytes_per_token, "vocab": engine.info.vocab,
                "context": engine.info.context}


def usage(engine: runtime.Engine, session: runtime.Session) -> dict:
    """Bytes and rows of a run that is over."""
    stats = session.stats()
    return {"cap": engine.cap, "peak": engine.kv_peak(), "full": stats.bytes_full_f16,
            "tokens": stats.tokens, "rows_kept": stats.rows_kept / max(stats.rows_full, 1),
            "evicted": stats.evicted_total, "chunk": engine.info.prefill_chunk}
