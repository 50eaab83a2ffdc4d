"""Runs a case of a recall task under a configuration: how likely each right answer was."""
import numpy as np

import runtime
from cases import Case, Chat, Piece
from configuration import Configuration, Setting, engine_for, model_facts, opened, usage


def judge(piece: Piece, logits: np.ndarray) -> dict:
    """What the model thinks of the right answer; logits [tokens of the answer, vocabulary]."""
    gold = piece.ids[piece.start:].astype(np.int64)
    own = logits[np.arange(len(gold)), gold].astype(np.float64)
    top = logits.max(axis=1)
    normalizer = top + np.log(np.exp(logits - top[:, None]).sum(axis=1, dtype=np.float64))
    ranks = 1 + (logits > own[:, None].astype(np.float32)).sum(axis=1)
    exact = bool((logits.argmax(axis=1) == gold).all())
    correct = exact
    if piece.choices:
        correct = int(logits[0, list(piece.choices)].argmax()) == 0
    return {"label": piece.ask.label, "correct": correct, "exact": exact,
            "logprob": float((own - normalizer).mean()), "rank": int(ranks.max())}


def ask(session: runtime.Session, piece: Piece) -> dict:
    """Reads a question with its right answer and judges it."""
    rows: list[np.ndarray] = []
    if session.recalls:
        session.recall(piece.question)  # The answer is not known when it is asked.
    session.append(piece.ids[:piece.start - 1])
    session.score(piece.ids[piece.start - 1:-1], lambda _, logits: rows.append(logits.copy()))
    session.append(piece.ids[-1:])
    return judge(piece, np.stack(rows))


def run_case(setting: Setting, configuration: Configuration, case: Case) -> dict:
    """The answers of one case, or what was missing to hold it under the cap."""
    chat = Chat(opened(setting)[1])
    pieces = chat.pieces(case)
    tokens = sum(len(piece.ids) for piece in pieces)
    record = {"task": case.task, "case": case.index}
    try:
        with engine_for(setting, configuration, tokens,
                        model_facts(setting)["bytes_per_token"]) as engine:
            with runtime.Session(engine, configuration.policy) as session:
                answers = []
                for piece in pieces:
                    if piece.ask:
                        answers.append(ask(session, piece))
                    else:
                        session.append(piece.ids, pin=piece.pin)
                return {**record, **usage(engine, session), "answers": answers}
    except runtime.RuntimeFailure as failure:
        if not failure.is_lack_of_room:
            raise
        return {**record, "failed": str(failure)}
