"""Whether a session tells when a conversation returns to what was dropped (CORM_RECALL_COMPARED).

    python3 tools/quality/returns.py --model FILE [--cases N] [--budget PERCENT] [--text FILE]
                                     [--seed S] [--tokens N] [--library FILE] [--out FILE]

In a chat the user says facts of himself and gives passages to read. Then come questions for the
facts, for other things, and one more passage, each as the next turn after the same chat, which is
rewound between them; answers are greedy. It is so with the full f16 cache, under the cap, and under
the cap with recalls that are compared with drafts. A question returns when the full cache answers
it rightly and the cap alone does not, nor would the session with recalls without this one: its two
drafts say the same, and that is right. A turn that asks for nothing that was said does not return.
Printed: the shares of both that were told as returns, at the library's threshold and at others, the
AUROC of the divergence, and how many questions that the full cache answers rightly each way does.
"""
import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import random

import runtime
import words
import workers
from cases import Prose, sentences

ROOT = pathlib.Path(__file__).resolve().parents[2]
PETS = ("Biscuit", "Rex", "Luna", "Max", "Bella", "Rocky", "Daisy", "Oscar", "Pepper")
COLORS = ("red", "blue", "green", "yellow", "black", "purple")
# (what the user says, what he asks later, the values it may have; none: numbers of five digits)
FACTS = (("My dog is called {0}.", "What is the name of my dog?", PETS),
         ("My cat is called {0}.", "What is my cat called?", PETS),
         ("I live in {0}.", "In which city do I live?", words.CITIES),
         ("My car is {0}.", "What color is my car?", COLORS),
         ("My name is {0}.", "What is my name?", words.NAMES),
         ("My train leaves on {0}.", "On which day does my train leave?", words.DAYS),
         ("The pass key is {0}.", "What is the pass key?", None),
         ("The alarm code is {0}.", "What is the alarm code?", None),
         ("The bank PIN is {0}.", "What is the bank PIN?", None),
         ("The locker number is {0}.", "What is the locker number?", None),
         ("The badge number is {0}.", "What is the badge number?", None),
         ("The phone extension is {0}.", "What is the phone extension?", None))
OTHER = ("What is the capital of France?", "How many days has a week?", "What color is snow?",
         "Which animal barks?", "Which month comes after May?", "What do bees make?",
         "Which planet do we live on?", "What is the largest ocean?", "Say hello.",
         "How many legs has a spider?", "Name a fruit.", "What is ice made of?")
WAYS = ("none", "corm", "corm+compared")
ANSWER_TOKENS = 24


@dataclasses.dataclass
class Chat:
    """Turns with the answers that stand, and the (message, value that is right, if any) after."""
    said: list[tuple[str, str]]
    asked: list[tuple[str, str]]


def make_chat(index: int, options: argparse.Namespace) -> Chat:
    rng = random.Random(f"{options.seed}/returns/{index}")
    prose = Prose(sentences(options.text.read_text()), rng)
    said, asked = [], []
    for fact, question, values in rng.sample(FACTS, 6):
        value = rng.choice(values) if values else str(rng.randrange(10000, 100000))
        fact = fact.format(value)
        answer = fact.replace("My", "your").replace("I live", "you live")
        said.append((f"{fact} Please remember it. {fact}", f"I will remember it: {answer}"))
        asked.append((question, value))

    def passage() -> str:
        text = " ".join(prose.take(options.tokens * 4 // 3))
        return f"Here is a passage that I like. Say only: thank you. {text}"

    said += [(passage(), "Thank you.") for _ in range(3)]
    asked += [(question, "") for question in rng.sample(OTHER, 5)]
    return Chat(said, asked + [(passage(), "")])


def hold(engine: runtime.Engine, way: str, chat: Chat, asked: list[int]) -> dict[int, dict]:
    """What comes of those of the questions, by number."""
    found = {}
    with runtime.Session(engine, way) as session:
        answer = ""
        for text, standing in chat.said:
            if answer:
                session.add("assistant", answer)
            session.reply(text, 1)
            begin, _ = session.message_range(-1)
            session.rewind(begin)
            answer = standing
        before = session.stats().tokens
        for number in asked:
            text, value = chat.asked[number]
            session.add("assistant", answer)
            said, result = session.reply(text, ANSWER_TOKENS)
            found[number] = {"answer": said, "right": bool(value) and value in said,
                             "divergence": result.draft_divergence, "told": bool(result.returned),
                             "seconds": result.prompt_seconds,
                             "dropped": session.stats().evicted_total > 0,
                             "tokens": session.stats().tokens}
            session.rewind(before)
    return found


def run_case(index: int, options: argparse.Namespace) -> list[dict]:
    """The turns of a case that count, with what each way made of them."""
    library, chat, held, cap = runtime.Library(options.library), make_chat(index, options), {}, 0
    numbers = list(range(len(chat.asked)))
    for way in WAYS:
        rows = "f16" if way == "none" else "q8_0"
        with runtime.Engine(library, options.model, cap=cap, rows=rows, threads=options.threads,
                            all_logits=False) as engine:
            held[way] = hold(engine, way, chat, numbers)
            if not cap:
                tokens = max(turn["tokens"] for turn in held[way].values())
                cap = int(options.budget / 100 * tokens * engine.info.kv_bytes_per_token)
                numbers = [number for number, (_, value) in enumerate(chat.asked)
                           if not value or held[way][number]["right"]]
    return [{"case": index, "text": chat.asked[number][0][:80], "value": chat.asked[number][1],
             **{way: held[way][number] for way in WAYS}} for number in numbers]


def area(positives: list[float], negatives: list[float]) -> float:
    """The AUROC: how often a return has the greater divergence; equal ones count half."""
    wins = sum((p > n) + (p == n) / 2 for p in positives for n in negatives)
    return wins / max(len(positives) * len(negatives), 1)


def share(part: int, whole: int) -> str:
    return f"{part} of {whole}" + (f" ({100 * part / whole:.1f} %)" if whole else "")


def knows(turn: dict) -> bool:
    """Whether a recall was not needed: earlier ones have left what the answer needs."""
    return turn["right"] and turn["divergence"] == 0.0


def report(turns: list[dict]) -> str:
    """The figures as text."""
    turns = [turn for turn in turns if turn["corm+compared"]["dropped"]]
    gated = [turn for turn in turns if turn["value"]]  # All that the full cache answers rightly.
    returns = [turn["corm+compared"] for turn in gated
               if not turn["corm"]["right"] and not knows(turn["corm+compared"])]
    others = [turn["corm+compared"] for turn in turns if not turn["value"]]
    at = [[turn["divergence"] for turn in group] for group in (returns, others)]
    lines = [f"questions that the full cache answers rightly: {len(gated)}; returns of these: "
             f"{len(returns)}; other turns: {len(others)}", f"AUROC: {area(*at):.3f}",
             "told, by the library: " + share(sum(t["told"] for t in returns), len(returns))
             + "; falsely: " + share(sum(t["told"] for t in others), len(others))]
    for threshold in (0.03, 0.05, 0.06, 0.07, 0.1, 0.15, 0.2, 0.3):
        lines.append(f"  at {threshold} nats: "
                     + share(sum(d >= threshold for d in at[0]), len(at[0])) + "; falsely: "
                     + share(sum(d >= threshold for d in at[1]), len(at[1])))
    lines.append("questions that the full cache answers rightly: " + "; ".join(
        f"{way}: {share(sum(turn[way]['right'] for turn in gated), len(gated))}" for way in WAYS))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    add = parser.add_argument
    add("--model", type=pathlib.Path, required=True)
    add("--library", type=pathlib.Path, default=ROOT / "build/lib/libcormorant.so")
    add("--text", type=pathlib.Path, default=ROOT / "README.md", help="what passages are from")
    add("--cases", type=int, default=8)
    add("--tokens", type=int, default=1200, help="of passages, about")
    add("--budget", type=float, default=25.0, help="percent of the f16 bytes (default: 25)")
    add("--seed", type=int, default=1)
    add("--jobs", type=int, default=os.cpu_count())
    add("--out", type=pathlib.Path, help="JSON of all turns")
    options = parser.parse_args()
    options.threads = max((os.cpu_count() or 1) // options.jobs, 1)
    turns: list[dict] = []
    with workers.pool(options.jobs) as pool:
        for done in concurrent.futures.as_completed(
                [pool.submit(run_case, index, options) for index in range(options.cases)]):
            turns += done.result()
            if options.out:
                options.out.write_text(json.dumps(turns, indent=1))
    print(report(turns))


if __name__ == "__main__":
    main()
