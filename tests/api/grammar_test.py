"""Grammars on the command line, and JSON Schemas against the Python package jsonschema.

    grammar_test.py LIBRARY CORMORANT     of libcormorant.so and of the command line

What needs jsonschema, which tools/test fetches into .cache/python, is skipped without it, as are
answers of a model without CORMORANT_TEST_MODEL.
"""
import ctypes as c
import datetime
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / ".cache/python"))
try:
    import jsonschema
except ImportError:
    jsonschema = None

LIBRARY, CLI = c.CDLL(sys.argv[1]), sys.argv[2]
LIBRARY.corm_last_error.restype = c.c_char_p
MODEL = os.environ.get("CORMORANT_TEST_MODEL", "")
needs_model = unittest.skipUnless(MODEL, "CORMORANT_TEST_MODEL names no model")
NONE, BEGIN, WHOLE = 0, 1, 2

NODE = {"type": "object", "properties": {
    "value": {"type": "integer", "minimum": 0, "maximum": 99},
    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["value", "next"]}
# All but those of ENDLESS are small enough for a little model to come to an end.
SCHEMAS = {
    "person": {"type": "object", "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "email": {"type": ["string", "null"], "maxLength": 20}}, "required": ["name", "age"]},
    "closed": {"type": "object", "properties": {"a": {"const": 1}, "b": {"enum": ["x", None, 2.5]}},
               "required": ["b"], "additionalProperties": False},
    "open": {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"],
             "additionalProperties": {"type": "boolean"}},
    "list": {"type": "array", "items": {"type": "string", "maxLength": 12}, "minItems": 2,
             "maxItems": 4},
    "tuple": {"type": "array", "prefixItems": [{"type": "number", "minimum": -90, "maximum": 90},
                                               {"type": "number", "minimum": -180, "maximum": 180}],
              "items": False, "minItems": 2},
    "date": {"type": "object", "properties": {"day": {"type": "string", "format": "date"},
                                              "at": {"type": "string", "format": "date-time"}},
             "required": ["day", "at"]},
    "uuid": {"type": "string", "format": "uuid"},
    "pattern": {"type": "string", "pattern": "^(\\([0-9]{3}\\))?[0-9]{3}-[0-9]{4}$"},
    "recursive": {"$ref": "#/$defs/node", "$defs": {"node": NODE}},
    "choice": {"oneOf": [
        {"type": "object", "properties": {"kind": {"const": "circle"},
                                          "radius": {"type": "number", "exclusiveMinimum": 0,
                                                     "maximum": 9.75}},
         "required": ["kind", "radius"]},
        {"type": "object", "properties": {"kind": {"const": "square"},
                                          "side": {"type": "integer", "minimum": 1,
                                                   "maximum": 12}},
         "required": ["kind", "side"]}]},
    "merged": {"allOf": [{"type": "object", "properties": {"n": {"type": "number"}},
                          "required": ["n"]},
                         {"properties": {"n": {"minimum": 10, "maximum": 12.5},
                                         "ok": {"type": "boolean"}}, "required": ["ok"]}]},
    "nested": {"type": "object", "properties": {"people": {"type": "array", "minItems": 1,
        "maxItems": 2, "items": {"type": "object", "properties": {
            "name": {"type": "string", "maxLength": 10},
            "tags": {"type": "array", "items": {"enum": ["new", "old"]}, "maxItems": 2}},
            "required": ["name", "tags"]}}}, "required": ["people"]},
}
ENDLESS = ("open", "recursive")
# Texts in a usual form that must be accepted.
ACCEPTED = {
    "person": [{"name": "Zoë", "age": 130}, {"name": "a\"\\\n", "age": 0, "email": None}],
    "closed": [{"b": "x"}, {"a": 1, "b": None}, {"b": 2.5}],
    "open": [{"id": -5}, {"id": 1, "x": True, "i": False}],
    "list": [["a", ""], ["é", "😀", "x", "y"]],
    "tuple": [[-90, 180], [12.25, -0.5]],
    "date": [{"day": "2024-02-29", "at": "1999-12-31T23:59:59Z"}],
    "uuid": ["01234567-89ab-cdef-0123-456789abcdef"],
    "pattern": ["555-1234", "(123)555-1234"],
    "recursive": [{"value": 1, "next": {"value": 2, "next": None}}],
    "choice": [{"kind": "circle", "radius": 0.5}, {"kind": "square", "side": 12}],
    "merged": [{"n": 12.5, "ok": True}, {"n": 10, "ok": False}],
    "nested": [{"people": [{"name": "a", "tags": []}, {"name": "b", "tags": ["new", "old"]}]}],
}


class Grammar:
    """A handle of the C API."""

    def __init__(self, schema):
        self.handle = c.c_void_p()
        status = LIBRARY.corm_grammar_create_json_schema(json.dumps(schema).encode(),
                                                         c.byref(self.handle))
        if status != 0:
            raise RuntimeError(LIBRARY.corm_last_error().decode())

    def match(self, text):
        result, encoded = c.c_int32(), text.encode()
        status = LIBRARY.corm_grammar_match(self.handle, encoded, c.c_size_t(len(encoded)),
                                            c.byref(result))
        if status != 0:
            raise RuntimeError(LIBRARY.corm_last_error().decode())
        return result.value

    def close(self):
        LIBRARY.corm_grammar_destroy(self.handle)

    def random_text(self, source, steps=400):
        """A whole text, character by character; None where it did not come to an end."""
        characters = list('abcdefxyz0123456789-:.TZ{}[]", \n\\/eEué😀+') + list("truefalsn")
        text = ""
        for _ in range(steps):
            match = self.match(text)
            if match == WHOLE and source.random() < 0.7:
                return text
            source.shuffle(characters)
            first = list('"}]') if source.random() < 0.3 else []
            for character in first + characters + ['"']:
                if self.match(text + character) != NONE:
                    text += character
                    break
            else:
                # What a schema spells out: any character at all.
                further = (chr(code) for code in range(32, 127))
                found = next((f for f in further if self.match(text + f) != NONE), None)
                if found is None:
                    return text if match == WHOLE else None
                text += found
        return None


@unittest.skipIf(jsonschema is None, "the Python package jsonschema is missing")
class SchemaTest(unittest.TestCase):
    def check(self, name, text):
        value = json.loads(text)
        jsonschema.Draft202012Validator(SCHEMAS[name]).validate(value)
        if name == "date":  # Formats are notes to the validator.
            datetime.date.fromisoformat(value["day"])
            datetime.datetime.fromisoformat(value["at"][:10])
        return value

    def test_random_texts_are_valid(self):
        source = random.Random(4)
        for name, schema in SCHEMAS.items():
            grammar = Grammar(schema)
            texts = [grammar.random_text(source) for _ in range(25)]
            whole = [text for text in texts if text is not None]
            self.assertGreater(len(whole), 5, name)
            for text in whole:
                with self.subTest(name=name, text=text):
                    self.check(name, text)
            grammar.close()

    def test_valid_texts_are_accepted(self):
        for name, values in ACCEPTED.items():
            grammar = Grammar(SCHEMAS[name])
            for value in values:
                for text in (json.dumps(value), json.dumps(value, separators=(",", ":")),
                             json.dumps(value, indent=2, ensure_ascii=False)):
                    self.check(name, text)
                    self.assertEqual(grammar.match(text), WHOLE, f"{name}: {text}")
            grammar.close()

    @needs_model
    def test_answers_of_a_model_are_valid(self):
        for name, schema in SCHEMAS.items():
            grammar = Grammar(schema)
            for more in (["--temp", "0"], ["--temp", "1.2", "--seed", "3"]):
                done = subprocess.run(
                    [CLI, "run", "-m", MODEL, "-p", f"Write a {name} as JSON.", "-n", "150",
                     "--json", "-j", json.dumps(schema), *more], capture_output=True, check=False)
                self.assertEqual(done.returncode, 0, done.stderr.decode())
                result = json.loads(done.stdout)
                with self.subTest(name=name, text=result["text"]):
                    if name in ENDLESS and result["stop_reason"] == "length":
                        self.assertEqual(grammar.match(result["text"]), BEGIN)
                    else:
                        self.assertEqual(result["stop_reason"], "end")
                        self.check(name, result["text"])
            grammar.close()


class CommandLineTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def file(self, name, content):
        path = pathlib.Path(self.folder.name) / name
        path.write_text(content)
        return str(path)

    def run_cli(self, *arguments):
        return subprocess.run([CLI, *map(str, arguments)], capture_output=True, text=True,
                              check=False)

    def json(self, *arguments):
        done = self.run_cli(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def fails(self, code, words, *arguments):
        done = self.run_cli("run", "-m", "/nonexistent.gguf", "-p", "x", *arguments)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        self.assertIn(words, done.stderr)

    def test_what_is_wrong_is_said_before_a_model_is_loaded(self):
        self.fails(2, "line 1, column 10", "--grammar", "root ::= x")
        self.fails(2, "no rule 'root'", "--grammar", "")
        self.fails(2, "#/items: keyword 'not'", "-j", '{"items": {"not": {}}}')
        self.fails(1, "/nonexistent.gbnf", "--grammar-file", "/nonexistent.gbnf")
        self.fails(2, "", "--grammar", 'root ::= "a"', "-j", "{}")
        self.fails(1, "/nonexistent.gguf", "--grammar", 'root ::= "a"')

    @needs_model
    def test_answers_match_their_grammar(self):
        ask = ("run", "-m", MODEL, "-p", "Which is the largest?", "-n", 60, "--json")
        result = self.json(*ask, "--grammar", 'root ::= "the " ("sun" | "moon")')
        self.assertIn(result["text"], ("the sun", "the moon"))
        self.assertEqual(result["stop_reason"], "end")
        result = self.json(*ask, "--grammar-file", self.file("g", 'root ::= [0-9]{3}'))
        self.assertRegex(result["text"], "^[0-9]{3}$")
        schema = '{"properties": {"n": {"type": "integer", "maximum": 9}}, "required": ["n"]}'
        for option in (("-j", schema), ("--json-schema", schema),
                       ("--json-schema-file", self.file("s", schema))):
            self.assertLessEqual(json.loads(self.json(*ask, *option)["text"])["n"], 9)
        done = self.run_cli("chat", "-m", MODEL, "--json", "-j", schema, "--script",
                            self.file("script", "Name one.\nAnother.\n"))
        turns = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([list(json.loads(turn["text"])) for turn in turns], [["n"], ["n"]])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=1)
