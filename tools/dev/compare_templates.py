#!/usr/bin/env python3
"""Renders chat templates of real models with jinja2 and with Cormorant and compares byte for byte.

    compare_templates.py FOLDER_OF_JINJA_FILES [--binary build/bin/cormorant] [--verbose]

Each template sees the same conversations, with and without tools. A conversation that jinja2 itself
refuses (a template that wants alternating roles, say) must be refused by Cormorant too. Prints a
table, then the totals; ends with 1 unless everything matches. Needs the Python package jinja2.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "golden"))
import hf_jinja  # noqa: E402

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather in a city. Use it for \"now\" & <later>.",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "Name of the city, as in 'Köln'"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        "days": {"type": "integer", "minimum": 1, "maximum": 10},
        "details": {"type": "array", "items": {"type": "string"}},
        "place": {"type": "object", "description": "Where", "properties": {
            "lat": {"type": "number"}, "lon": {"type": ["number", "null"]}},
                  "required": ["lat"]}},
        "required": ["city"]}, "return": {"type": "string"}}}
NOTHING = {"type": "function", "function": {
    "name": "ping", "description": "Says whether anyone is there.",
    "parameters": {"type": "object", "properties": {}}}}


def call(name, arguments, identifier="abcdefghi"):
    return {"id": identifier, "type": "function",
            "function": {"name": name, "arguments": arguments}}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def tool(text, name="get_weather", identifier="abcdefghi"):
    return {"role": "tool", "name": name, "tool_call_id": identifier, "content": text}


SYSTEM = {"role": "system", "content": "You are terse.\nAnswer in English. "}
ONE_CALL = [SYSTEM, user("Weather in Köln?"),
            assistant("", tool_calls=[call("get_weather", {"city": "Köln", "days": 2})]),
            tool('{"temp": 21.5, "sky": "clear"}')]
TEXT_ARGUMENTS = [user("Weather?"),
                  assistant("Let me see.",
                            tool_calls=[call("get_weather", '{"city": "Rome", "details": []}')]),
                  tool("sunny"), assistant("Sunny."), user("Thanks")]
TWO_CALLS = [user("Both?"),
             assistant(None, tool_calls=[
                 call("get_weather", {"city": "A", "place": {"lat": 1.0, "lon": None}}),
                 call("ping", {}, "bcdefghij")]),
             tool("one"), tool("two", "ping", "bcdefghij")]

CONVERSATIONS = {
    "user": dict(messages=[user("Hello!")]),
    "system": dict(messages=[SYSTEM, user("Hello!")]),
    "turns": dict(messages=[SYSTEM, user("One?"), assistant("1"), user("Two?\n"),
                            assistant("  2\n"), user(" Three? ")]),
    "unicode": dict(messages=[user("Grüße, 世界! \U0001f600 \u200d 'quoted' \"twice\" <b>&"),
                              assistant("¡Olé! {{ not a tag }} {% nor this %}"), user("é")]),
    "empty": dict(messages=[user(""), assistant(""), user("\n")]),
    "no prompt": dict(messages=[user("Hi"), assistant("Hello.")], add_generation_prompt=False),
    "reasoning": dict(messages=[user("2+2?"),
                                assistant("4", reasoning_content="Two and two.\n"),
                                user("3+3?"), assistant("<think>\nHm.\n</think>\n\n6"),
                                user("4+4?")]),
    "parts": dict(messages=[{"role": "system", "content": [{"type": "text", "text": "Be kind."}]},
                            {"role": "user", "content": [{"type": "text", "text": "Look: "},
                                                         {"type": "text", "text": "this."}]}]),
    "no messages": dict(messages=[]),
    "tools": dict(messages=[user("Weather?")], tools=[WEATHER, NOTHING]),
    "tools and system": dict(messages=[SYSTEM, user("Weather?")], tools=[WEATHER]),
    "one call": dict(messages=ONE_CALL, tools=[WEATHER, NOTHING]),
    "call, answered": dict(messages=ONE_CALL + [assistant("21.5 degrees."), user("And Bonn?")],
                           tools=[WEATHER]),
    "text arguments": dict(messages=TEXT_ARGUMENTS, tools=[WEATHER]),
    "two calls": dict(messages=TWO_CALLS, tools=[WEATHER, NOTHING]),
    "calls, no tools": dict(messages=ONE_CALL),
    "many": dict(messages=[m for i in range(20) for m in (user(f"q{i}"), assistant(f"a{i}"))] +
                 [user("end")]),
}


def by_jinja2(source, case):
    try:
        return hf_jinja.render(source, bos_token="<s>", eos_token="</s>", **case), ""
    except Exception as error:  # pylint: disable=broad-except  (whatever a template may raise)
        return None, f"{type(error).__name__}: {error}"


def by_cormorant(binary, path, case, folder):
    (folder / "messages.json").write_text(json.dumps(case["messages"]))
    command = [binary, "template", "--messages", str(folder / "messages.json"), "--template",
               str(path), "--bos", "<s>", "--eos", "</s>"]
    if case.get("tools") is not None:
        (folder / "tools.json").write_text(json.dumps(case["tools"]))
        command += ["--tools", str(folder / "tools.json")]
    if not case.get("add_generation_prompt", True):
        command.append("--no-generation-prompt")
    run = subprocess.run(command, capture_output=True, check=False, timeout=60)
    return run.stdout.decode() if run.returncode == 0 else None, run.stderr.decode().strip()


def describe(name, want, want_error, got, got_error):
    if want is None or got is None:
        return f"  {name}: jinja2 {want_error or 'renders'} / Cormorant {got_error or 'renders'}"
    at = next((i for i, (a, b) in enumerate(zip(want, got)) if a != b), min(len(want), len(got)))
    return f"  {name}: differ at {at}: {want[at - 40:at + 60]!r} / {got[at - 40:at + 60]!r}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--binary", default=str(ROOT / "build/bin/cormorant"))
    parser.add_argument("--verbose", action="store_true", help="print each difference")
    options = parser.parse_args()
    paths = sorted(options.folder.glob("*.jinja"))
    templates = texts = refusals = cases = 0
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            source, same, refused, notes = path.read_text(), 0, 0, []
            for name, case in CONVERSATIONS.items():
                want, want_error = by_jinja2(source, case)
                got, got_error = by_cormorant(options.binary, path, case, pathlib.Path(folder))
                if want is not None and want == got:
                    same += 1
                elif want is None and got is None:
                    refused += 1
                    notes.append(describe(name, want, want_error, got, got_error))
                else:
                    notes.append("!" + describe(name, want, want_error, got, got_error))
            whole = same + refused == len(CONVERSATIONS)
            print(f"{'ok  ' if whole else 'DIFF'} {same:3} same {refused:3} refused by both "
                  f"{len(CONVERSATIONS) - same - refused:3} different  {path.name}")
            for note in notes:
                if options.verbose or note[0] == "!":
                    print("     " + note)
            templates += whole
            texts, refusals, cases = texts + same, refusals + refused, cases + len(CONVERSATIONS)
    print(f"{templates} of {len(paths)} templates match; of {cases} conversations {texts} give the "
          f"same text, {refusals} are refused by both, {cases - texts - refusals} differ")
    return 0 if templates == len(paths) else 1


if __name__ == "__main__":
    sys.exit(main())
