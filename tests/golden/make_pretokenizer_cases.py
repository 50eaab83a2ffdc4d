#!/usr/bin/env python3
"""Writes pretokenizer_cases.json: how Hugging Face's tokenizers cut texts into pieces.

    make_pretokenizer_cases.py        needs tokenizers; writes beside itself

Each rule is put together as the models' tokenizer.json has it. A piece is written as its length in
characters. Characters are of Unicode 3.2: the engines know different versions of it.
"""
import json
import pathlib
import random
import unicodedata

from tokenizers import Regex
from tokenizers.pre_tokenizers import ByteLevel, Digits, Punctuation, Sequence, Split

HERE = pathlib.Path(__file__).resolve().parent
BYTES = ByteLevel(add_prefix_space=False, use_regex=False)


def cut(*patterns):
    return [Split(Regex(pattern), "isolated") for pattern in patterns]


CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
END = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def gpt4(digits):
    return (CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|" + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
            + END)


def gpt4o(suffix, digits):
    before = r"[^\r\n\p{L}\p{N}]?"
    return (before + UPPER + "*" + LOWER + "+" + suffix + "|" + before + UPPER + "+" + LOWER + "*"
            + suffix + "|" + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n/]*" + END)


HAN = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
THREE = r"\p{N}{1,3}"
RULES = {
    "gpt-2": cut(GPT2),
    "smollm": [Digits(individual_digits=True), *cut(GPT2)],
    "falcon": [Punctuation("contiguous"), *cut(GPT2), Digits(individual_digits=False),
               *cut("[0-9][0-9][0-9]")],
    "llama-bpe": cut(gpt4(THREE)),
    "qwen2": cut(gpt4(r"\p{N}")),
    "qwen35": cut(CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+"
                  r"[\r\n]*" + END),
    "gpt-4o": cut(gpt4o(CONTRACTIONS + "?", THREE)),
    "tekken": cut(gpt4o("", r"\p{N}")),
    "deepseek-coder": [*cut("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN),
                       Digits(individual_digits=True)],
    "deepseek-v3": cut(THREE, "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
                       r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"
                       r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*" + END),
}
TEXTS = [
    "", " ", "Hello world", "  two  spaces ", "I'll we'RE 'S 'tis don't can'T",
    "12345 1 22 333 4444", "a\n\n b \r\n\tc\r\r", " \n ", "\n \n",
    "x = {'a': [1, 2.5]};  // no?\n", "!?...--- (a) [b] {c}",
    "HelloWORLDFooBAR iPhone XMLHttp McDonald\u2019s",
    "\u0130\u01c5\u01c6 \u00aa\u01bb\u0294 \u00b5",
    "Gr\u00fc\u00dfe \u4e16\u754c12\u3042\u30ab \ud55c\uad6d\uc5b4",
    "e\u0301e\u0301 \u0301 a\u0301",
    "\u0416\u0436\u0416\u0416 \u05e9\u05dc\u05d5\u05dd",
    "\u0645\u0631\u062d\u0628\u0627 \u0967\u0968",
    "\U0001f600\U0001f1e8\U0001f1ed \u200d \ufeff", "a\u00a0b\u2003c\u3000d\u1680\u0085e\u180ef",
    "\u2160\u2161\u00bd\u00b2 \u2460", "$5.00 + \u20ac7 ^_^ `code` ~x|y~ <a>",
    "path/to//file\n/x/\n", "\x00\x01\x1f\x7f\x80", "\u1780\u17b6\u1793\u17cb",
    "\uff21\uff22\uff43\uff01\u3002\u2018q\u2019", "x" * 40 + " " * 40 + "y", "A" * 40 + "b",
    "1" * 40, " " * 7 + "\n" * 5 + " " * 3,
]
# Letters with and without case, marks, digits, symbols, white space, and what surprises.
KINDS = [
    "abcxyz", "ABCXYZ", "0123456789", " \t\n\r\x0b\x0c\u00a0\u2003\u3000\u0085", ".,!?'\"-/()[]",
    "$+<=>^`|~", "\u0301\u0308\u093e\u0e31", "\u00e9\u00df\u0130\u01c5\u0436\u0416\u03a9\u2126",
    "\u4e16\u3042\u30ab\ud55c\u0e01\u0915\u05d0\u02b0\u00aa", "\u00bd\u0967\u2167\u00b2\U0001d7d8",
    "\U0001f600\u20ac\u2192\u200d\ufeff\x00"]


def characters():
    def fits(code):
        return unicodedata.ucd_3_2_0.category(chr(code)) not in ("Cn", "Cs")
    return [chr(code) for code in range(0x110000) if fits(code)]


def random_texts():
    chance = random.Random(3)
    known = characters()
    for _ in range(80):
        text = ""
        while len(text) < 30:
            kind = chance.choice(KINDS)
            text += "".join(chance.choice(kind) for _ in range(chance.randrange(1, 4)))
            if chance.randrange(4) == 0:
                text += chance.choice(known)
            if chance.randrange(6) == 0:
                text += chance.choice(["'s", "'LL", " the", "\r\n", "HTTPServer", "  "])
        yield text


def main():
    texts = TEXTS + list(random_texts())
    rules = {}
    for name, steps in RULES.items():
        splitter = Sequence([*steps, BYTES])
        rules[name] = [[end - begin for _, (begin, end) in splitter.pre_tokenize_str(text)]
                       for text in texts]
        for text, lengths in zip(texts, rules[name]):
            if sum(lengths) != len(text):
                raise SystemExit(f"{name} loses characters of {text!r}")
    out = json.dumps({"texts": texts, "rules": rules}, separators=(",", ":"))
    (HERE / "pretokenizer_cases.json").write_text(out.replace('],"', '],\n"') + "\n")
    print(len(texts), "texts,", len(rules), "rules")


if __name__ == "__main__":
    main()
