"""The recall tasks: each makes cases from a seed, of about as many tokens as is asked for.

A task is a function of a Scene; TASKS has them all. The same seed gives the same cases, whatever
else is run. Facts are put so that a model of 135 million parameters can recall them from its full
cache: few of a kind, said twice, and with the words that its answer will begin with, except in
paraphrase. Lines are as LongEval has them, which is too hard for such a model.
"""
import dataclasses
import json
import pathlib
import random
import re
import typing

import words
from cases import Ask, Case, Prose, Say, Step

SYSTEM = Say("system", "You are a helpful assistant. You answer questions from what was said in "
                       "this conversation.")
READ = "Here is a text. Read it and remember what is in it; I will ask you about it later.\n\n"
CHARACTERS_PER_TOKEN = 4
SAME, OTHER = "asked before", "first asked late"


@dataclasses.dataclass
class Scene:
    """What a case is made from."""
    rng: random.Random
    prose: Prose
    characters: int  # Of prose in the whole case.
    shared: pathlib.Path | None = None  # Folder with LongEval's files, if it is there.


def document(scene: Scene, facts: list[str], asks: list[Ask]) -> list[Step]:
    """One long text with facts between its sentences, then the questions in random order."""
    text = scene.prose.take(scene.characters)
    places = sorted((scene.rng.randrange(1, len(text)) for _ in facts), reverse=True)
    for place, fact in zip(places, reversed(facts)):
        text.insert(place, fact)
    return [SYSTEM, Say("user", READ + " ".join(text)),
            Say("assistant", "I have read it. You can ask me about it."),
            *scene.rng.sample(asks, len(asks))]


def others(values: typing.Iterable[str], value: str) -> tuple[str, ...]:
    """The choices beside the right one."""
    return tuple(f" {other}" for other in values if other != value)


def passkey(scene: Scene) -> list[Step]:
    """Numbers of five digits in a long text, each with a name of its own."""
    facts, asks = [], []
    for name in scene.rng.sample(words.SECRETS, 3):
        key = scene.rng.randrange(10000, 100000)
        facts.append(f"The {name} is {key}. Remember it. {key} is the {name}.")
        asks.append(Ask(f"What is the {name}?", f"The {name} is ", f"{key}"))
    return document(scene, facts, asks)


def key_value(scene: Scene) -> list[Step]:
    """Words that belong to things, each said twice; the answer is one of the words in the text."""
    keys = scene.rng.sample(words.NOUNS, 4)
    values = scene.rng.sample(words.CITIES + words.NAMES, 4)
    facts = [f"The secret word for the {key} is {value}. Remember it: the secret word for the {key}"
             f" is {value}." for key, value in zip(keys, values)]
    asks = [Ask(f"What is the secret word for the {key}?", f"The secret word for the {key} is",
                f" {value}", others(values, value)) for key, value in zip(keys, values)]
    return document(scene, facts, asks)


def lines(scene: Scene) -> list[Step]:
    """LongEval's lines, names of two words and numbers, as one message."""
    count = max(10, scene.characters // 100)
    names = scene.rng.sample([f"{a}-{n}" for a in words.ADJECTIVES for n in words.NOUNS], count)
    rows, asks = [], []
    for name in names:
        start = f"line {name}: REGISTER_CONTENT is <"
        number = scene.rng.randrange(1, 50000)
        rows.append(f"{start}{number}>")
        asks.append(Ask(f"Tell me what is the <REGISTER_CONTENT> in line {name}?", start,
                        f"{number}>"))
    head = ("Below is a record of lines I want you to remember. Each line begins with 'line <line "
            "index>' and contains a '<REGISTER_CONTENT>' at the end of the line as a numerical "
            "value.\n\n")
    return [SYSTEM, Say("user", head + "\n".join(rows)), Say("assistant", "I have read them."),
            *scene.rng.sample(asks, 8)]


def talk(scene: Scene, characters: int, answer: str = "Thank you for sharing it.") -> list[Step]:
    """A long turn about something else, and its answer."""
    text = " ".join(scene.prose.take(characters))
    return [Say("user", f"Here is a passage that I like. {text}"), Say("assistant", answer)]


def personal_facts(scene: Scene) -> list[tuple[list[Step], Ask]]:
    """What the user says of himself, acknowledged, and the question for it; in random order."""
    found = []
    for said, question, prefix, values in scene.rng.sample(words.FACTS, len(words.FACTS)):
        value = scene.rng.choice(values)
        turns = [Say("user", f"{said.format(value)} Please remember that."),
                 Say("assistant", f"I will remember that. {prefix} {value}.")]
        found.append((turns, Ask(question, prefix, f" {value}", others(values, value))))
    return found


def multi_turn(scene: Scene) -> list[Step]:
    """Facts of the user, each in a turn of its own with others between; then all are asked for."""
    steps: list[Step] = [SYSTEM]
    facts = personal_facts(scene)
    for turns, _ in facts:
        steps += [*turns, *talk(scene, scene.characters // len(facts))]
    return steps + scene.rng.sample([ask for _, ask in facts], len(facts))


def re_asked(scene: Scene) -> list[Step]:
    """A topic that comes back: some facts are asked at once, and again, with all, much later."""
    facts = personal_facts(scene)[:6]
    asked, kept = facts[:3], facts[3:]
    steps: list[Step] = [SYSTEM]
    for turns, _ in facts:
        steps += turns
    steps += [dataclasses.replace(ask, label="asked at once") for _, ask in asked]
    for _ in range(4):
        steps += talk(scene, scene.characters // 4)
    late = [dataclasses.replace(ask, label=SAME) for _, ask in asked]
    late += [dataclasses.replace(ask, label=OTHER) for _, ask in kept]
    return steps + scene.rng.sample(late, len(late))


def paraphrase(scene: Scene) -> list[Step]:
    """Facts in a long text, asked for in other words."""
    facts, asks = [], []
    for said, question, prefix, values in scene.rng.sample(words.PARAPHRASES,
                                                           len(words.PARAPHRASES)):
        value = scene.rng.choice(values)
        facts.append(said.format(value, value))
        asks.append(Ask(question, prefix, f" {value}", others(values, value)))
    return document(scene, facts, asks)


def instruction(scene: Scene) -> list[Step]:
    """The user's rule for every answer, kept so far; whether the next answer begins by it.

    The rule is in the first turn, which nothing pins. Every answer keeps it, as it should; the
    user's turns between are long, so that under a small cap the last answer may be gone too.
    """
    tag = scene.rng.choice(words.TAGS)
    questions = ["What is the capital of France?", "How many days has a week?",
                 "What color is snow?", "Which animal barks?"]
    answers = [" Paris.", " Seven.", " White.", " The dog."]
    steps: list[Step] = [
        SYSTEM, Say("user", f"From now on begin every answer with '{tag}!'."),
        Say("assistant", f"{tag}! I will begin every answer with '{tag}!'."),
        Say("user", "What is two and two?"), Say("assistant", f"{tag}! Four."),
        Say("user", "Which month comes after May?"), Say("assistant", f"{tag}! June.")]
    for question, answer in zip(questions, answers):
        steps += talk(scene, scene.characters // len(questions), f"{tag}! Thank you for this.")
        steps.append(Ask(question, "", f"{tag}!", rest=answer))
    return steps


def topic_bank(scene: Scene) -> list[tuple[str, str, list[Step]]]:
    """(how a topic's name begins, how it ends, what was said about it)."""
    path = scene.shared and scene.shared / "eval/longeval-topics-5.jsonl"
    if not path or not path.exists():
        return [(head, tail, []) for head, tail in words.TOPICS]
    found = {}
    for row in path.read_text().splitlines():
        for part in json.loads(row)["prompt"].split("to discuss the topic of ")[1:]:
            name, _, rest = part.partition(". \n")
            head, of, tail = name.strip().partition(" of ")
            turns: list[Step] = []
            for turn in rest.split("USER:")[1:4]:
                said, _, reply = turn.partition("ASSISTANT:")
                if reply:
                    turns += [Say("user", said.strip()), Say("assistant", reply.strip())]
            if of and tail.split()[0] not in ("a", "an", "the") and "<" not in name:
                found.setdefault(name, (head + " of", tail, turns))
    return list(found.values())


def is_clear(topic: tuple, picked: list[tuple]) -> bool:
    """Whether the start of each topic's name leads to that topic alone, wherever it is said."""
    everything = " ".join(turn.text for _, _, turns in [topic, *picked] for turn in turns).lower()
    firsts = [tail.split()[0] for _, tail, _ in [topic, *picked]]
    heads = [head for head, _, _ in [topic, *picked]]
    if len(set(firsts)) < len(firsts) or len(set(heads)) < len(heads):
        return False
    return not any(re.search(f"{re.escape(head)} (?!{re.escape(first)})", everything)
                   for head, first in zip(heads, firsts))


def topics(scene: Scene) -> list[Step]:
    """LongEval's topics: one after the other is discussed, then each is asked for by its start.

    The other choices are topics of which nothing was said.
    """
    steps: list[Step] = [SYSTEM]
    picked: list[tuple[str, str, list[Step]]] = []
    size = 0
    for topic in scene.rng.sample(bank := topic_bank(scene), len(bank)):
        if size >= scene.characters or not is_clear(topic, picked):
            continue
        picked.append(topic)
        head, tail, turns = topic
        turns = [Say("user", f"I would like to discuss the topic of {head} {tail}."),
                 Say("assistant", "Sure, I'd be happy to talk about that with you!"),
                 *(turns or talk(scene, scene.characters // 6))]
        steps += turns
        size += sum(len(turn.text) for turn in turns)
    if size < scene.characters:
        steps += talk(scene, scene.characters - size)
    firsts = [tail.split()[0] for _, tail, _ in picked]
    said = " ".join(step.text for step in steps).lower()
    unsaid = sorted({first for _, tail, _ in bank if (first := tail.split()[0]) not in said})
    asks = [Ask(f"Which topic did I name that begins with '{head}'?",
                f"You said: I would like to discuss the topic of {head}", f" {first}",
                others(unsaid, first), rest=tail[len(first):] + ".")
            for (head, tail, _), first in zip(picked, firsts)]
    return steps + scene.rng.sample(asks, len(asks))


Task = typing.Callable[[Scene], list[Step]]
Length = typing.Callable[[Case], int]
TASKS: dict[str, Task] = {
    "passkey": passkey, "key-value": key_value, "lines": lines, "topics": topics,
    "multi-turn": multi_turn, "re-asked": re_asked, "instruction": instruction,
    "paraphrase": paraphrase}


def make_case(task: str, index: int, *, seed: int, tokens: int, text: list[str],
              shared: pathlib.Path | None = None, length: Length | None = None) -> Case:
    """Case `index` of a task: the same for the same arguments.

    With `length`, which counts the tokens of a case, it has `tokens` of them within a few percent,
    as far as its prose can be cut to that; without, very roughly.
    """
    characters = max(tokens - 300, 100) * CHARACTERS_PER_TOKEN
    for _ in range(4):
        rng = random.Random(f"{seed}/{task}/{index}")
        scene = Scene(rng, Prose(text, rng), characters, shared)
        case = Case(task, index, tuple(TASKS[task](scene)))
        missing = tokens - length(case) if length else 0
        if -0.05 * tokens <= missing <= 0:
            break
        characters = max(characters + (missing + tokens // 50) * CHARACTERS_PER_TOKEN, 200)
    return case
