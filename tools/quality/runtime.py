"""The C interface of Cormorant for the laboratory: engines, sessions and the tokenizer in ctypes.

Structs are declared up to the last field that is used here and carry room behind it: an init call
of a newer library writes its own, longer struct. Whatever fails raises RuntimeFailure with what
corm_last_error() says, and the status, which tells a cap that is too small from anything else.
"""
import ctypes as c
import json
import pathlib

import numpy as np

RESOURCE_EXHAUSTED, OUT_OF_RANGE = 8, 11
APPEND_PIN, ENCODE_BOS, ENCODE_SPECIAL, DECODE_SPECIAL = 1, 1, 2, 1
HOST_COPY_BYTES = 1 << 40  # More than any case drops.
RECALL_COMPARED = 2
ROOM = ("room", c.c_uint8 * 512)


class EngineOptions(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("model_path", c.c_char_p), ("backend", c.c_char_p),
                ("device", c.c_uint32), ("threads", c.c_uint32), ("memory_cap_bytes", c.c_uint64),
                ("kv_cap_bytes", c.c_uint64), ("kv_type", c.c_char_p), ("context", c.c_uint32),
                ("max_sessions", c.c_uint32), ("prefill_chunk", c.c_uint32),
                ("all_logits", c.c_uint32), ("on_load", c.c_void_p), ("on_load_user", c.c_void_p),
                ("on_event", c.c_void_p), ("on_event_user", c.c_void_p), ("devices", c.c_uint32),
                ("tuning_path", c.c_char_p), ("query_statistics", c.c_uint32), ROOM]


class EngineInfo(c.Structure):
    _fields_ = [("struct_size", c.c_size_t),
                *((name, c.c_uint32) for name in ("layers", "kv_heads", "head_dim", "vocab",
                                                  "context", "context_trained", "prefill_chunk")),
                *((name, c.c_uint64) for name in ("kv_bytes_per_token", "kv_page_bytes",
                                                  "kv_pages")), ROOM]


class MemoryStats(c.Structure):
    _fields_ = [("struct_size", c.c_size_t),
                *((name, c.c_uint64) for name in (
                    "cap", "used", "peak", "weights", "kv_pages", "kv_metadata", "activations",
                    "staging", "program", "kv_cap", "kv_peak")), ROOM]


class SessionOptions(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("policy", c.c_char_p), ("corm_window", c.c_uint32),
                ("recent", c.c_uint32), ("sinks", c.c_uint32), ("interval", c.c_uint32),
                ("basis", c.c_int32), ("importance_scale", c.c_float),
                ("pin_system_prompt", c.c_int), ("reach", c.c_int32), ("head_budget", c.c_char_p),
                ("fade", c.c_int32), ("recall", c.c_int), ("host_copy_bytes", c.c_uint64),
                ("host_copy_seconds", c.c_double), ("zero_pages", c.c_int), ("audit", c.c_uint32),
                ("kv_budget_bytes", c.c_uint64), ("mode", c.c_char_p), ("canary", c.c_double),
                ("key", c.c_char_p), ("reread_most", c.c_uint64), ("positions", c.c_char_p), ROOM]


class KvStats(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("tokens", c.c_uint64), ("rows_kept", c.c_double),
                *((name, c.c_uint64) for name in ("rows_full", "bytes", "bytes_full_f16",
                                                  "evicted_total", "evicted_forced", "rebased")),
                ROOM]


class GenerateOptions(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("max_tokens", c.c_uint32),
                ("temperature", c.c_float), ROOM]


class GenerateResult(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("prompt_tokens", c.c_uint64),
                ("generated_tokens", c.c_uint64), ("prompt_seconds", c.c_double),
                ("decode_seconds", c.c_double), ("stop_reason", c.c_int32),
                ("recalled_tokens", c.c_uint64), ("recalled_rows", c.c_uint64),
                ("draft_divergence", c.c_double), ("returned", c.c_int32), ROOM]


class TemplateOptions(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("source", c.c_char_p), ("messages_json", c.c_char_p),
                ("tools_json", c.c_char_p), ("bos_text", c.c_char_p), ("eos_text", c.c_char_p),
                ("add_generation_prompt", c.c_int), ROOM]


LogitsFunction = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_size_t, c.POINTER(c.c_float), c.c_size_t)


class RuntimeFailure(Exception):
    """A call that failed; `status` is its corm_status."""

    def __init__(self, status: int, text: str):
        super().__init__(status, text)  # Both, so that a worker can hand it on.
        self.status = status

    def __str__(self) -> str:
        return self.args[1]

    @property
    def is_lack_of_room(self) -> bool:
        """Whether a larger cap would have helped."""
        return self.status in (RESOURCE_EXHAUSTED, OUT_OF_RANGE)


class Library:
    """libcormorant.so, with one method for each thing the laboratory asks of it."""

    def __init__(self, path: pathlib.Path):
        self.so = c.CDLL(str(path))
        for name in ("corm_last_error", "corm_tokenizer_chat_template", "corm_tokenizer_bos_text",
                     "corm_tokenizer_eos_text", "corm_version"):
            getattr(self.so, name).restype = c.c_char_p
        for name in ("corm_engine_destroy", "corm_session_destroy", "corm_tokenizer_destroy",
                     "corm_text_free"):
            getattr(self.so, name).restype = None

    def check(self, status: int) -> None:
        if status != 0:
            raise RuntimeFailure(status, self.so.corm_last_error().decode())

    def fresh(self, kind, name: str):
        """A struct with the library's defaults."""
        struct = kind()
        getattr(self.so, f"corm_{name}_init")(c.byref(struct))
        return struct

    def take_text(self, text: c.c_char_p) -> str:
        try:
            return text.value.decode("utf-8", "replace")
        finally:
            self.so.corm_text_free(text)

    def policies(self) -> dict[str, dict]:
        """All eviction policies by name, as the library describes them."""
        text = c.c_char_p()
        self.check(self.so.corm_policies(c.byref(text)))
        return {policy["name"]: policy for policy in json.loads(self.take_text(text))}


class Tokenizer:
    """Text to ids and back, and the model's chat template."""

    def __init__(self, library: Library, model: pathlib.Path):
        self.library, self.handle = library, c.c_void_p()
        library.check(library.so.corm_tokenizer_open(str(model).encode(), c.byref(self.handle)))
        self.template = library.so.corm_tokenizer_chat_template(self.handle)

    def encode(self, text: str, flags: int = ENCODE_SPECIAL) -> np.ndarray:
        so, data, count = self.library.so, text.encode(), c.c_size_t()
        ids = np.empty(len(data) + 8, dtype=np.uint32)
        self.library.check(so.corm_tokenizer_encode(
            self.handle, data, c.c_size_t(len(data)), flags, pointer(ids), c.c_size_t(len(ids)),
            c.byref(count)))
        return ids[:count.value].copy()

    def decode(self, ids) -> str:
        ids, text = np.ascontiguousarray(ids, dtype=np.uint32), c.c_char_p()
        self.library.check(self.library.so.corm_tokenizer_decode(
            self.handle, pointer(ids), c.c_size_t(len(ids)), DECODE_SPECIAL, c.byref(text), None))
        return self.library.take_text(text)

    def render(self, messages: list[dict], add_generation_prompt: bool) -> str:
        """The messages through the model's chat template."""
        so = self.library.so
        options = self.library.fresh(TemplateOptions, "template_options")
        options.source = self.template
        options.messages_json = json.dumps(messages).encode()
        options.bos_text = so.corm_tokenizer_bos_text(self.handle)
        options.eos_text = so.corm_tokenizer_eos_text(self.handle)
        options.add_generation_prompt = int(add_generation_prompt)
        text = c.c_char_p()
        self.library.check(so.corm_template_render(c.byref(options), c.byref(text)))
        return self.library.take_text(text)


def pointer(ids: np.ndarray):
    return ids.ctypes.data_as(c.POINTER(c.c_uint32))


class Engine:
    """One model under one cap. `cap` 0: none; `chunk` 0: chosen for the cap. Keeps what sessions of
    `policy` need."""

    def __init__(self, library: Library, model: pathlib.Path, *, cap: int = 0, rows: str = "f16",
                 chunk: int = 0, context: int = 0, threads: int = 0, all_logits: bool = True,
                 policy: str = "none"):
        self.cap = cap
        self.library, self.handle = library, c.c_void_p()
        options = library.fresh(EngineOptions, "engine_options")
        options.model_path, options.backend = str(model).encode(), b"cpu"
        options.kv_cap_bytes, options.kv_type, options.threads = cap, rows.encode(), threads
        options.prefill_chunk, options.all_logits = chunk, int(all_logits)
        options.context = context
        described = library.policies().get(policy.partition("+")[0], {})
        options.query_statistics = int(described.get("query_statistics", False))
        library.check(library.so.corm_engine_create(c.byref(options), c.byref(self.handle)))
        self.info = library.fresh(EngineInfo, "engine_info")
        library.check(library.so.corm_engine_get_info(self.handle, c.byref(self.info)))

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_) -> None:
        self.library.so.corm_engine_destroy(self.handle)
        self.handle = None

    def kv_peak(self) -> int:
        """Greatest size of the KV store so far: rows and metadata."""
        stats = self.library.fresh(MemoryStats, "memory_stats")
        self.library.check(self.library.so.corm_engine_get_memory(self.handle, c.byref(stats)))
        return stats.kv_peak


class Session:
    """One conversation. All options but the policy keep the library's defaults, unless said.

    `corm+recall` is corm whose questions are recalled by (see `recall`), which reads everything
    again; `corm+copies` the same from copies on the host; with `corm+compared` it is reply() that
    recalls, from copies, and compares.
    """

    def __init__(self, engine: Engine, policy: str, positions: str | None = None):
        self.engine, self.library, self.handle = engine, engine.library, c.c_void_p()
        self.so = self.library.so
        read = self.library.fresh(SessionOptions, "session_options")
        name, _, way = policy.partition("+")
        self.recalls = way in ("recall", "copies")
        read.policy = name.encode()
        if positions is not None:
            read.positions = positions.encode()
        if way in ("copies", "compared"):
            read.host_copy_bytes = HOST_COPY_BYTES
        if way == "compared":
            read.recall = RECALL_COMPARED
        self.library.check(self.so.corm_session_create(engine.handle, c.byref(read),
                                                       c.byref(self.handle)))

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_) -> None:
        self.so.corm_session_destroy(self.handle)
        self.handle = None

    def append(self, ids: np.ndarray, pin: bool = False) -> None:
        """Reads tokens; with `pin` they are never dropped."""
        self.library.check(self.so.corm_session_append(
            self.handle, pointer(ids), c.c_size_t(len(ids)), APPEND_PIN if pin else 0, None, None))

    def recall(self, ids: np.ndarray) -> None:
        """Brings back what a question, which is to be read next, needs of what was dropped."""
        self.library.check(self.so.corm_session_recall(
            self.handle, pointer(ids), c.c_size_t(len(ids)), None, None, None))

    def score(self, ids: np.ndarray, on_logits) -> None:
        """Reads tokens and calls on_logits(index, logits) for each, valid during the call."""
        failure = []

        def deliver(_, index, logits, vocab):
            try:
                on_logits(index, np.ctypeslib.as_array(logits, (vocab,)))
                return 0
            except BaseException as error:  # pylint: disable=broad-except  # Goes on below.
                failure.append(error)
                return 1

        status = self.so.corm_session_score(self.handle, pointer(ids), c.c_size_t(len(ids)),
                                            LogitsFunction(deliver), None)
        if failure:
            raise failure[0]
        self.library.check(status)

    def add(self, role: str, text: str) -> None:
        """Adds a message, which the next reply() reads."""
        self.library.check(self.so.corm_session_add_message(self.handle, role.encode(),
                                                            text.encode()))

    def message_range(self, index: int) -> tuple[int, int]:
        """The tokens that a message became, from the first up to behind the last; -1: the last."""
        messages = c.c_char_p()
        self.library.check(self.so.corm_session_get_messages(self.handle, c.byref(messages)))
        count = len(json.loads(self.library.take_text(messages)))
        begin, end = c.c_size_t(), c.c_size_t()
        self.library.check(self.so.corm_session_get_message_range(
            self.handle, c.c_size_t(index % count), c.byref(begin), c.byref(end)))
        return begin.value, end.value

    def rewind(self, to: int) -> None:
        """Forgets tokens from `to` on, and their messages."""
        self.library.check(self.so.corm_session_rewind(self.handle, c.c_size_t(to), None, None))

    def reply(self, text: str, tokens: int) -> tuple[str, GenerateResult]:
        """The likeliest answer to a message of the user, `tokens` of it at most."""
        self.add("user", text)
        options = self.library.fresh(GenerateOptions, "generate_options")
        options.max_tokens, options.temperature = tokens, 0
        result = self.library.fresh(GenerateResult, "generate_result")
        self.library.check(self.so.corm_session_reply(self.handle, c.byref(options), None, None,
                                                      c.byref(result)))
        messages = c.c_char_p()
        self.library.check(self.so.corm_session_get_messages(self.handle, c.byref(messages)))
        return json.loads(self.library.take_text(messages))[-1]["content"], result

    def stats(self) -> KvStats:
        stats = self.library.fresh(KvStats, "kv_stats")
        self.library.check(self.so.corm_session_get_stats(self.handle, c.byref(stats)))
        return stats
