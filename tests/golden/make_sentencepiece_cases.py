#!/usr/bin/env python3
"""Writes sentencepiece_cases.json: small vocabularies and what SentencePiece makes of texts.

    make_sentencepiece_cases.py BOOK        needs sentencepiece; writes beside itself

SentencePiece trains BPE on the beginning of BOOK, once as each family of models has it, and encodes
the texts below: ids without BOS and EOS, and the text that comes back.
"""
import io
import json
import pathlib
import random
import sys

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as model_pb2

HERE = pathlib.Path(__file__).resolve().parent
# In GGUF: normal, unknown, control, user-defined, unused and byte tokens have the same numbers.
COMMON = dict(model_type="bpe", normalization_rule_name="identity", character_coverage=0.9995,
              num_threads=1, minloglevel=2, max_sentence_length=100000)
KINDS = {
    "llama": dict(vocab_size=700, byte_fallback=True, remove_extra_whitespaces=False,
                  allow_whitespace_only_pieces=True, split_digits=True),
    "gemma": dict(vocab_size=700, byte_fallback=True, remove_extra_whitespaces=False,
                  add_dummy_prefix=False, allow_whitespace_only_pieces=True, split_digits=True,
                  user_defined_symbols=["<start>", "<start>x", "\u2581\u2581\u2581", "\n\n"]),
    "phrases": dict(vocab_size=500, byte_fallback=True, remove_extra_whitespaces=False,
                    split_by_whitespace=False, max_sentencepiece_length=24),
    "extra": dict(vocab_size=300, remove_extra_whitespaces=True),
}
TEXTS = [
    "", " ", "  ", "\n", "\t", "\n\n\n", "a", " a", "a ", "  a  b   c  ", "Hello world", "Call me",
    " Call me Ishmael. Some years ago", "whale", "the whale the whale", "thethethe", "12345 67",
    "Gr\u00fc\u00dfe \u4e16\u754c \U0001f600", "\u00e9\u00e9\u00e9 \u0301", "\x00\x01\x7f",
    "!?...---",
    "<s></s><unk>", "<start>", "a<start>xb <start> x", "<0x0A>", "    four", "\n\n<start>\n\n\n",
    "of the of the of the in the", "\u3000wide\u2003space\u00a0", "a" * 34,
    "ends with newline\n", "\u0416\u0436 \u05e9\u05dc\u05d5\u05dd", "\U0010ffff\uffff\ue000",
]


def random_texts(book):
    chance = random.Random(7)
    words = book.split(" ")
    for _ in range(60):
        parts = []
        for _ in range(chance.randrange(1, 25)):
            kind = chance.randrange(4)
            if kind == 0:
                code = chance.choice([0x80, 0x800, 0x3000, 0x10000, 0x110000])
                code = chance.randrange(code)
                parts.append(" " if 0xD800 <= code < 0xE000 or code == 0x2581 else chr(code))
            elif kind == 1:
                parts.append(" " * chance.randrange(1, 4))
            else:
                parts.append(chance.choice(words)[:chance.randrange(1, 12)])
        yield "".join(parts)


def main():
    book = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")[20000:140000]
    texts = TEXTS + list(random_texts(book))
    vocabularies = {}
    for name, options in KINDS.items():
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(book.split("\n")), model_writer=model, **COMMON, **options)
        encoder = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        proto = model_pb2.ModelProto.FromString(model.getvalue())
        pieces = proto.pieces
        vocabularies[name] = {
            "tokens": [piece.piece for piece in pieces],
            "scores": [piece.score for piece in pieces],
            "types": [piece.type for piece in pieces],
            "add_space_prefix": proto.normalizer_spec.add_dummy_prefix,
            "remove_extra_whitespaces": proto.normalizer_spec.remove_extra_whitespaces,
            "ids": [encoder.encode(text) for text in texts],
            "decoded": [encoder.decode(encoder.encode(text)) for text in texts],
        }
        print(name, len(pieces), "pieces")
    out = json.dumps({"texts": texts, "vocabularies": vocabularies}, separators=(",", ":"))
    (HERE / "sentencepiece_cases.json").write_text(out.replace('],"', '],\n"') + "\n")


if __name__ == "__main__":
    main()
