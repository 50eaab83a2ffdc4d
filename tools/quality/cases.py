"""What a case of a recall task is: a conversation, some of whose turns are questions.

A case is a list of steps. Say is a turn that is read. Ask is a user's question whose answer is
known: the answer's start is forced, the likelihood of each token of the answer is taken, and the
right answer then stands in the conversation, whatever the model would have said; so every policy
reads the same tokens. A greedy model would have given the answer if and only if each of its tokens
is the likeliest one; where there are choices, the answer is the choice whose first token is the
likeliest.

Questions are turns of their own and follow what they ask about: whatever the policy dropped before,
it dropped without knowing them.
"""
import dataclasses
import random
import re
import typing

import numpy as np

import runtime


@dataclasses.dataclass(frozen=True)
class Say:
    """A turn that is read. A system turn is pinned, as the library does by default."""
    role: str
    text: str


@dataclasses.dataclass(frozen=True)
class Ask:
    """A question in a turn of its own; `prefix` begins the answer, `answer` follows it."""
    text: str
    prefix: str
    answer: str
    choices: tuple[str, ...] = ()  # Other answers that fit; empty: any token of the vocabulary.
    rest: str = ""                 # What the answer goes on with; read, not scored.
    label: str = ""                # What kind of question it is, for the report.


Step = typing.Union[Say, Ask]


@dataclasses.dataclass(frozen=True)
class Case:
    """One conversation of a task."""
    task: str
    index: int
    steps: tuple[Step, ...]


@dataclasses.dataclass
class Piece:
    """Tokens to read; with `ask`, the tokens of its answer are `ids[start:]`."""
    ids: np.ndarray
    pin: bool = False
    ask: Ask | None = None
    start: int = 0
    choices: tuple[int, ...] = ()  # First tokens of the right answer, then of the others.
    question: np.ndarray | None = None  # The tokens up to the answer's forced start.


class Chat:
    """Turns a case into tokens, through the model's chat template."""

    def __init__(self, tokenizer: runtime.Tokenizer):
        self.tokenizer = tokenizer

    def first_tokens(self, ask: Ask) -> tuple[int, ...]:
        """First tokens of the answer and of the other choices; () where there are none."""
        if not ask.choices:
            return ()
        texts = (ask.answer, *ask.choices)
        first, *others = [int(self.tokenizer.encode(text)[0]) for text in texts]
        if first in others:
            raise ValueError(f"a choice begins with the same token as '{ask.answer}'")
        return (first, *others)

    def tokens(self, case: Case) -> int:
        """How many tokens the whole case has."""
        return sum(len(piece.ids) for piece in self.pieces(case))

    def pieces(self, case: Case) -> list[Piece]:
        """The case as tokens, in the order in which they are read."""
        messages: list[dict] = []
        done, found = "", []

        def more(add_generation_prompt: bool) -> str:
            nonlocal done
            text = self.tokenizer.render(messages, add_generation_prompt)
            if not text.startswith(done):
                raise ValueError("this chat template changes turns that were said before")
            text, done = text[len(done):], text
            return text

        for step in case.steps:
            if isinstance(step, Say):
                messages.append({"role": step.role, "content": step.text})
                found.append(Piece(self.tokenizer.encode(more(False)), pin=step.role == "system"))
            else:
                messages.append({"role": "user", "content": step.text})
                turn = more(True)
                question = self.tokenizer.encode(turn)
                before = self.tokenizer.encode(turn + step.prefix)
                answer = self.tokenizer.encode(step.answer)
                done += step.prefix + step.answer
                messages.append({"role": "assistant",
                                 "content": step.prefix + step.answer + step.rest})
                after = self.tokenizer.encode(more(False))
                found.append(Piece(np.concatenate([before, answer]), ask=step, start=len(before),
                                   choices=self.first_tokens(step), question=question))
                found.append(Piece(after))
        return found


def sentences(text: str) -> list[str]:
    """Sentences of a text that are neither headings nor very long."""
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text)]
    whole = " ".join(part for part in paragraphs if len(part) > 40)
    found = [s for s in re.split(r"(?<=[.!?])\s+", whole) if 20 < len(s) < 400]
    if len(found) < 50:
        raise ValueError("the text has fewer than 50 sentences; give a longer one with --text")
    return found


class Prose:
    """Sentences taken in order from a random place on, as what stands between the facts."""

    def __init__(self, text: list[str], rng: random.Random):
        self.text, self.at = text, rng.randrange(len(text))

    def take(self, characters: int) -> list[str]:
        """The next sentences, at least so many characters of them."""
        taken, size = [], 0
        while size < characters:
            taken.append(self.text[self.at % len(self.text)])
            self.at += 1
            size += len(taken[-1]) + 1
        return taken
