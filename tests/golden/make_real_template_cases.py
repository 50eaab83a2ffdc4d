#!/usr/bin/env python3
"""Real chat templates against jinja2: writes real_template_cases.json, or compares with ours.

    make_real_template_cases.py FOLDER            writes the cases beside itself; needs jinja2
    make_real_template_cases.py FOLDER CORMORANT  renders each case with the executable CORMORANT
                                                  and shows where it differs from jinja2

FOLDER holds NAME.jinja files, which are not ours to keep here. So the cases hold hashes of the
templates and of the texts that jinja2 renders from the conversations below, and a 0 where it
raises. The clock stands at NOW, except in what the command line renders.
"""
import copy
import difflib
import json
import pathlib
import subprocess
import sys
import tempfile

import hf_jinja

HERE = pathlib.Path(__file__).resolve().parent
NOW = 1_700_000_000  # 2023-11-14 22:13:20 UTC.
BOS, EOS = "<bos>", "<eos>"
ZERO_BYTE = "zero byte"  # Ends a text in C, so the command line cannot write it.


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def said(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, arguments, number=0):
    return {"id": f"call{number:05d}", "type": "function",
            "function": {"name": name, "arguments": arguments}}


def tool(name, description, properties, required, **more):
    return {"type": "function", "function": {
        "name": name, "description": description,
        "parameters": {"type": "object", "properties": properties, "required": required}, **more}}


WEATHER = tool("get_weather", "Current weather <b>at</b> a \"place\" & more.", {
    "city": {"type": "string", "description": "City, as in 'Z\u00fcrich'."},
    "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
}, ["city"])
SEARCH = tool("search", "Finds pages.\nMany of them.", {
    "query": {"type": "string", "description": "What to look for"},
    "limit": {"type": "integer", "minimum": 1, "maximum": 1e3, "default": 10},
    "exact": {"type": "boolean", "default": True},
    "weight": {"type": "number", "default": 0.5},
    "sites": {"type": "array", "items": {"type": "string"}, "nullable": True},
    "options": {"type": "object", "properties": {
        "deep": {"type": "array", "items": {"type": "object", "properties": {
            "x": {"type": "number", "description": "x"}}, "required": ["x"]}},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
        "additionalProperties": False},
}, ["query", "limit"], strict=True)
BARE = {"type": "function", "function": {"name": "now", "description": "The time."}}
EMPTY = tool("ping", "Pings.", {}, [])
RETURNS = tool("add", "Adds two numbers.", {
    "a": {"type": ["number", "null"]}, "b": {"type": "number"}}, ["a", "b"],
    **{"return": {"type": "number", "description": "The sum."}})
PLAIN_TOOL = {"name": "plain", "description": "Not wrapped.",
              "parameters": {"type": "object", "properties": {}}}
TOOLS = [WEATHER, SEARCH]
IN_ZURICH = {"city": "Z\u00fcrich", "unit": "celsius"}
MANY_KINDS = {"query": "it's \"so\" <&>\n\u4e16\u754c", "limit": 3, "exact": False, "weight": 1.5,
              "sites": ["a", "b"], "options": {"deep": [{"x": 1e-7}], "none": None}}

USER = said("user", "What is the weather in Z\u00fcrich?")
SYSTEM = said("system", "You are terse.")
ASKS = [SYSTEM, USER]
CALLS = [USER, said("assistant", "", tool_calls=[call("get_weather", IN_ZURICH)])]
ANSWER = said("tool", "{\"degrees\": 21.5, \"sky\": \"clear\"}", tool_call_id="call00000",
              name="get_weather")
SUNNY = said("assistant", "21.5 degrees and clear.")
THOUGHT = "They want the weather.\nI know it."
TEXT = {"type": "text", "text": "Look at this: "}
IMAGE = {"type": "image", "image": "x.png"}
IMAGE_URL = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}


def case(name, messages, tools=None, prompt=True, **extra):
    return {"name": name, "messages": copy.deepcopy(messages), "tools": copy.deepcopy(tools),
            "add_generation_prompt": prompt, "extra": extra}


def plain_cases():
    more = [said("assistant", "Clear."), said("user", "And tomorrow?")]
    yield case("plain", [USER])
    yield case("no prompt", [USER], prompt=False)
    yield case("system", ASKS)
    yield case("turns", [USER] + more)
    yield case("system and turns", ASKS + more + [said("assistant", " Rain.\n"),
                                                  said("user", "  Thanks  ")])
    yield case("ends with the assistant", ASKS + more[:1], prompt=False)
    yield case("ends with the assistant, prompt", ASKS + more[:1])
    yield case("empty texts", [said("system", ""), said("user", ""), said("assistant", ""),
                               said("user", "")])
    yield case("white space", [said("system", " \n s \n"), said("user", "\t u \r\n"),
                               said("assistant", "\n\n a\n"), said("user", "\u00a0x\u2003\u3000")])
    yield case("unicode", [
        said("system", "\u0416\u0436 \u05e9\u05dc\u05d5\u05dd"),
        said("user", "Gr\u00fc\u00dfe, \u4e16\u754c! \U0001f600\u200d\U0001f600 e\u0301"),
        said("assistant", "\u0130\u01c5"),
        said("user", "\\n \\u0041"), said("assistant", "\u2028 \u2029 \ufeff \x7f \x1b")])
    yield case(ZERO_BYTE, [said("user", "a\x00b")])
    yield case("markup", [said("user", "<|im_start|>system\n{{ x }} {% raw %} <b>&amp;'\"</b>"),
                          said("assistant", "<think>\nhm\n</think>\n\nYes</think>no<think>"),
                          said("user", "[INST] /no_think </s>")])
    yield case("developer", [said("developer", "Be kind."), USER])
    yield case("late system", [USER, SYSTEM, SUNNY, SYSTEM, USER])
    yield case("two systems", [SYSTEM, said("system", "And kind."), USER])
    yield case("two users", [USER, USER])
    yield case("assistant first", [SUNNY, USER])
    yield case("unknown role", [said("narrator", "Night falls."), USER])
    yield case("no messages", [])
    yield case("only system", [SYSTEM])
    yield case("no content", [{"role": "user"}])
    yield case("null content", [said("user", None)])
    yield case("number as content", [said("user", 5)])
    yield case("no role", [{"content": "x"}])
    yield case("name", [said("user", "Hi", name="Ann"), said("assistant", "Yes", name="Bob"), USER])
    yield case("many turns", [said(("user", "assistant")[i % 2], f"turn {i}") for i in range(41)])


def part_cases():
    yield case("parts", [said("system", [{"type": "text", "text": "Be kind."}]),
                         said("user", [TEXT, {"type": "text", "text": "cats"}]),
                         said("assistant", [{"type": "text", "text": "Nice."}]), USER])
    yield case("images", [said("user", [TEXT, IMAGE, IMAGE_URL])])
    yield case("other parts", [said("user", [TEXT, {"type": "video", "video": "v"},
                                             {"type": "audio", "audio": "a"}])])
    yield case("parts that are texts", [said("user", ["a", "b"])])
    yield case("no parts", [said("user", [])])
    yield case("parts of a tool", CALLS + [said("tool", [{"type": "text", "text": "21"}, TEXT],
                                                tool_call_id="call00000", name="get_weather")],
               TOOLS)
    yield case("thinking parts", [USER, said("assistant", [
        {"type": "thinking", "thinking": THOUGHT}, {"type": "text", "text": "Clear."}]), USER])


def tool_cases():
    yield case("tools", [USER], TOOLS)
    yield case("tools and system", ASKS, TOOLS)
    yield case("tools, no prompt", ASKS, TOOLS, prompt=False)
    yield case("no tools", ASKS, [])
    yield case("odd tools", ASKS, [BARE, EMPTY, RETURNS])
    yield case("plain tools", ASKS, [PLAIN_TOOL])
    yield case("call", ASKS[:1] + CALLS, TOOLS, prompt=False)
    yield case("call, prompt", ASKS[:1] + CALLS, TOOLS)
    yield case("call, no tools offered", CALLS + [ANSWER])
    yield case("result", CALLS + [ANSWER], TOOLS)
    yield case("result and system", ASKS[:1] + CALLS + [ANSWER, SUNNY, USER], TOOLS)
    yield case("arguments as text", [
        USER, said("assistant", None, tool_calls=[call("get_weather", json.dumps(IN_ZURICH))]),
        ANSWER, SUNNY], TOOLS, prompt=False)
    yield case("arguments of many kinds", [
        USER, said("assistant", "I search.", tool_calls=[call("search", MANY_KINDS)]),
        said("tool", "None", tool_call_id="call00000", name="search")], TOOLS)
    yield case("no arguments", [USER, said("assistant", None, tool_calls=[call("ping", {})]),
                                said("tool", "", tool_call_id="call00000", name="ping")], [EMPTY])
    two = [call("get_weather", IN_ZURICH), call("search", {"query": "x", "limit": 1}, 1)]
    yield case("two calls", ASKS + [
        said("assistant", None, tool_calls=two), ANSWER,
        said("tool", "two", tool_call_id="call00001", name="search")], TOOLS)
    yield case("results out of order", ASKS + [
        said("assistant", "", tool_calls=two),
        said("tool", "two", tool_call_id="call00001", name="search"), ANSWER, SUNNY, USER], TOOLS)
    yield case("call after call", CALLS + [ANSWER] + CALLS[1:] + [ANSWER, SUNNY, USER] + CALLS[1:]
               + [ANSWER], TOOLS)
    yield case("no calls", [USER, said("assistant", "Hi", tool_calls=[]), USER], TOOLS)
    yield case("no content in a call", [
        USER, {"role": "assistant", "tool_calls": [call("get_weather", IN_ZURICH)]}, ANSWER], TOOLS)
    bare = {"name": "get_weather", "arguments": IN_ZURICH}
    yield case("calls that are not wrapped", [
        USER, said("assistant", "", tool_calls=[bare]), said("tool", "21")], TOOLS)
    yield case("result without a name", CALLS + [said("tool", "21")], TOOLS)
    yield case("result as a dict", CALLS + [said("tool", {"degrees": 21.5, "sky": None},
                                                 tool_call_id="call00000")], TOOLS)
    yield case("long ids", [USER, said("assistant", "", tool_calls=[
        dict(call("get_weather", IN_ZURICH), id="functions.get_weather:0")]),
        said("tool", "21", tool_call_id="functions.get_weather:0")], TOOLS)
    yield case("function role", [USER, SUNNY, said("function", "21", name="get_weather")], TOOLS)


def thinking_cases():
    thinks = said("assistant", "Clear.", reasoning_content=THOUGHT)
    yield case("reasoning", [USER, thinks, USER])
    yield case("reasoning last", [USER, thinks], prompt=False)
    yield case("reasoning, other names", [
        USER, said("assistant", "Clear.", thinking=THOUGHT),
        USER, said("assistant", "Clear.", reasoning=THOUGHT), USER])
    yield case("reasoning in the text", [
        USER, said("assistant", f"<think>\n{THOUGHT}\n</think>\n\nClear."), USER])
    yield case("reasoning and calls", [
        SYSTEM, USER, dict(CALLS[1], reasoning_content=THOUGHT), ANSWER, thinks, USER,
        dict(CALLS[1], reasoning_content="Again."), ANSWER], TOOLS)
    yield case("empty reasoning", [USER, said("assistant", "Clear.", reasoning_content=""), USER])
    for flag in (True, False):
        yield case(f"enable_thinking {flag}", ASKS, enable_thinking=flag, thinking=flag)
        yield case(f"enable_thinking {flag}, turns", [SYSTEM, USER, thinks, USER], TOOLS,
                   enable_thinking=flag, thinking=flag, thinking_mode="on" if flag else "off",
                   preserve_thinking=flag, clear_thinking=flag, drop_thinking=flag)
    for effort in ("low", "high", "none"):
        yield case(f"reasoning_effort {effort}", ASKS, TOOLS, reasoning_effort=effort,
                   thinking_budget=512)
    yield case("documents", ASKS, documents=[{"title": "T\u00fcr", "text": "A door.", "doc_id": 1},
                                             {"title": "B", "text": "Two", "doc_id": 2}])
    yield case("response_format", ASKS, response_format={"type": "object", "properties": {}})
    yield case("other variables", ASKS, TOOLS, date_string="1 Jan 2000", builtin_tools=["browser"],
               tools_in_user_message=False, custom_tools=TOOLS, model_identity="You are X.",
               system_message="S", controls={"length": "long"}, is_training=True,
               default_system_prompt="D", tool_namespace_descriptions={"functions": "F"})


def cases():
    return [*plain_cases(), *part_cases(), *tool_cases(), *thinking_cases()]


def rendered(source, one, now=NOW):
    """The text, or the exception."""
    try:
        return hf_jinja.render(source, copy.deepcopy(one["messages"]),
                               tools=copy.deepcopy(one["tools"]),
                               add_generation_prompt=one["add_generation_prompt"], bos_token=BOS,
                               eos_token=EOS, extra=copy.deepcopy(one["extra"]), now=now)
    except Exception as error:  # pylint: disable=broad-except
        return error


def write(paths, all_cases):
    templates = {}
    raised = 0
    for path in paths:
        source = path.read_bytes()
        texts = [rendered(source.decode(), one) for one in all_cases]
        raised += sum(isinstance(text, Exception) for text in texts)
        hashes = ["0" if isinstance(text, Exception) else f"{fnv1a(text.encode()):016x}"
                  for text in texts]
        templates[path.stem] = {"template": f"{fnv1a(source):016x}", "texts": " ".join(hashes)}
    out = {"now": NOW, "bos_token": BOS, "eos_token": EOS, "cases": all_cases,
           "templates": templates}
    path = HERE / "real_template_cases.json"
    path.write_text(json.dumps(out, ensure_ascii=True, indent=None, separators=(",", ":"))
                    .replace('{"name":', '\n{"name":').replace('"},"', '"},\n"') + "\n")
    print(f"{len(paths)} templates, {len(all_cases)} conversations, {raised} raise, in {path}")


def compare(paths, all_cases, executable):
    all_cases = [one for one in all_cases if not one["extra"] and one["name"] != ZERO_BYTE]
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        files = pathlib.Path(folder)
        for path in paths:
            for one in all_cases:
                want = rendered(path.read_text(), one, now=None)
                (files / "m").write_text(json.dumps(one["messages"]))
                (files / "t").write_text(json.dumps(one["tools"]))
                command = [executable, "template", "--template", path, "--messages", files / "m",
                           "--bos", BOS, "--eos", EOS]
                command += [] if one["tools"] is None else ["--tools", files / "t"]
                command += [] if one["add_generation_prompt"] else ["--no-generation-prompt"]
                got = subprocess.run(command, capture_output=True, check=False)
                if isinstance(want, Exception):
                    if got.returncode != 0:
                        continue
                    difference = [f"jinja2 raises {want!r}"]
                elif got.returncode == 0 and got.stdout == want.encode():
                    continue
                else:
                    text = got.stdout.decode(errors="replace")
                    difference = [got.stderr.decode(errors="replace"), *difflib.unified_diff(
                        want.split("\n"), text.split("\n"), "jinja2", "ours")]
                wrong += 1
                print(f"==== {path.stem}: {one['name']}", *difference, sep="\n")
    print(f"{len(paths) * len(all_cases)} texts, {wrong} differ")
    return 1 if wrong else 0


def main():
    paths = sorted(pathlib.Path(sys.argv[1]).glob("*.jinja"))
    if len(sys.argv) == 2:
        return write(paths, cases())
    return compare(paths, cases(), sys.argv[2])


if __name__ == "__main__":
    sys.exit(main())
