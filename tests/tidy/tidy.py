"""Checks the sources against the project's rules.

    tidy.py rules                          limits, layers, banned words, names that must be tested
    tidy.py headers --compiler CXX         every header compiles alone
    tidy.py self-test                      each rule finds its own breach

Prints one line for each breach, as PATH:LINE: RULE: what, and ends with 1 if there is any. Named
exceptions with a reason stand in limits.txt; one that is not needed any more is a breach too.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINE_MAX, FILE_MAX, FUNCTION_MAX, KERNEL_MAX = 100, 600, 70, 120
SOURCE_FOLDERS = ("platform", "runtime", "models", "backends", "shaders", "tools", "tests", "cmake")
CODE = {".cc", ".h", ".c", ".cu", ".cuh", ".comp", ".glsl"}
SCRIPTS = {".py", ".sh", ".cmake"}
KERNEL_FOLDERS = ("shaders/", "backends/cpu/", "backends/gpu/")

EXCEPTION_WORDS = re.compile(r"\b(throw|try|catch|dynamic_cast|typeid)\b")
PRINT_WORDS = re.compile(r"\b(printf|fprintf|vfprintf|vprintf|puts|fputs|putchar|cout|cerr)\b")
NAKED_NEW = re.compile(r"\bnew\b|(?<!= )\bdelete\b")
NAKED_SIZE = re.compile(
    r"\b(int|long|short|unsigned)\s+\w*"
    r"(bytes|count|size|capacity|length|rows|tokens|index|layers|context)\w*")


class Breach:
    def __init__(self, rule, path, line, what, name=""):
        self.rule, self.path, self.line, self.what, self.name = rule, path, line, what, name

    def __str__(self):
        return f"{self.path}:{self.line}: {self.rule}: {self.what}"


def source_files():
    """All files the rules are about, as paths relative to the root."""
    found = [ROOT / "CMakeLists.txt"]
    for folder in SOURCE_FOLDERS:
        for at, folders, names in os.walk(ROOT / folder):
            folders[:] = [f for f in folders if f not in ("__pycache__", "build")]
            found += [pathlib.Path(at) / name for name in names]
    wanted = []
    for path in found:
        is_script = path.parent == ROOT / "tools" and path.suffix == "" and path.is_file()
        if path.suffix in CODE | SCRIPTS or path.name == "CMakeLists.txt" or is_script:
            wanted.append(path.relative_to(ROOT).as_posix())
    return sorted(wanted)


def blanked(match):
    return re.sub(r"[^\n]", " ", match.group())


def without_comments_and_strings(text):
    """The same text with comments, strings and characters blanked; lines stay lines."""
    token = re.compile(
        r"//[^\n]*|/\*.*?\*/"
        r'|R"(?P<mark>[^(\s]*)\(.*?\)(?P=mark)"'
        r'|"(?:\\.|[^"\\\n])*"'
        r"|(?<![0-9A-Za-z_])'(?:\\.|[^'\\\n])+'", re.S)
    return token.sub(blanked, text)


def functions(code):
    """(name, first line, lines) of each function of blanked C++ code.

    A brace opens a function when what stands before it, back to the last ; { or }, has an argument
    list and is no namespace, type or initializer. Lambdas and blocks inside count to the function.
    """
    code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", blanked, code, flags=re.M)
    found, stack, start, last = [], [], 0, ""
    for match in re.finditer(r"[;{}]", code):
        at, sign = match.start(), match.group()
        if sign == "{":
            head = code[start:at].strip()
            if found and last == "}" and (head == "" or head.startswith(",")):
                # Not over yet: that brace was a member's initializer, as in `S() : a_{1}, b_{2} {`.
                name, first, _ = found.pop()
                stack.append(("function", name, first))
                start, last = at + 1, sign
                continue
            in_function = any(kind == "function" for kind, _, _ in stack)
            named = re.search(r"([~\w]+|operator\W+)\s*\(", head)
            is_scope = re.match(r"(inline\s+)?namespace\b|extern\b\s*$|enum\b", head) or (
                re.search(r"\b(class|struct|union)\s+\w+[^()]*$", head))
            if in_function or (not is_scope and re.search(r"(^|[^=!<>])=\s*$", head)):
                stack.append(("block", "", 0))
            elif named and not is_scope:
                first = code.count("\n", 0, start + len(code[start:at]) - len(
                    code[start:at].lstrip()))
                stack.append(("function", named.group(1), first + 1))
            else:
                stack.append(("scope", "", 0))
        elif sign == "}" and stack:
            kind, name, first = stack.pop()
            if kind == "function":
                found.append((name, first, code.count("\n", 0, at) + 2 - first))
        start, last = at + 1, sign
    return found


def check_lengths(path, text, code):
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_MAX:
            yield Breach("line", path, number, f"{len(line)} columns, at most {LINE_MAX}")
    if len(lines) - 1 > FILE_MAX:
        yield Breach("file", path, 1, f"{len(lines) - 1} lines, at most {FILE_MAX}")
    if pathlib.Path(path).suffix not in CODE:
        return
    limit = KERNEL_MAX if path.startswith(KERNEL_FOLDERS) else FUNCTION_MAX
    for name, first, count in functions(code):
        if count > limit:
            what = f"{name} has {count} lines, at most {limit}"
            yield Breach("function", path, first, what, name)


def check_opening(path, text):
    """Every file says what it is for, in its first line or right after #!."""
    lines = [line for line in text.split("\n")[:3] if line and not line.startswith("#!")]
    if not lines or not lines[0].startswith(("//", "#", "/*", '"""')):
        yield Breach("opening", path, 1, "does not begin by saying what the file is for")


def check_words(path, text, code):
    is_core = not path.startswith(("tools/", "tests/"))
    raw = text.split("\n")
    for number, line in enumerate(code.split("\n"), 1):
        word = EXCEPTION_WORDS.search(line)
        if word and is_core and not path.startswith("runtime/api/"):
            yield Breach("exceptions", path, number, f"'{word.group()}': errors are absl::Status")
        may_print = path.startswith("platform/log") or path == "runtime/base/check.h"
        word = PRINT_WORDS.search(line)
        if word and is_core and not may_print:
            yield Breach("print", path, number, f"'{word.group()}': only platform/log prints")
        # Owned: by a smart pointer on this line or the one before, or by a static for good.
        near = " ".join(raw[max(number - 2, 0):number])
        is_owned = re.search(r"(unique|shared)_ptr|\bstatic\b.* = new ", near)
        word = NAKED_NEW.search(line)
        if word and is_core and not is_owned and not path.startswith("runtime/api/"):
            yield Breach("new", path, number, f"'{word.group()}': memory belongs to an owner")
        word = NAKED_SIZE.search(line)
        if word and path.startswith("runtime/include/"):
            yield Breach("size", path, number, f"'{word.group()}': sizes have a fixed-width type")


def read_layers():
    layers = {}
    for line in (ROOT / "tests/tidy/layers.txt").read_text().split("\n"):
        if line and not line.startswith("#"):
            folder, _, allowed = line.partition(":")
            layers[folder] = allowed.split()
    return layers


def layer_of(path, layers):
    """The longest prefix that fits; `backends/*` stands for each folder by itself."""
    best = ""
    for layer in layers:
        prefix = layer
        if layer.endswith("/*"):
            parts = path.split("/")
            if not path.startswith(layer[:-1]) or len(parts) < 3:
                continue
            prefix = "/".join(parts[:2])
        if (path == prefix or path.startswith(prefix + "/")) and len(prefix) > len(best):
            best = prefix
    return best


def check_layers(path, text, layers):
    own = layer_of(path, layers)
    if not own:
        yield Breach("layer", path, 1, "no line of layers.txt fits this file")
        return
    allowed = layers[own] if own in layers else layers["backends/*"]
    for number, line in enumerate(text.split("\n"), 1):
        include = re.match(r'#include "([^"]+)"', line)
        if not include or "*" in allowed:
            continue
        target = include.group(1)
        if target.startswith("cormorant/"):
            target = "runtime/include/" + target
        if not target.startswith(tuple(f + "/" for f in SOURCE_FOLDERS)):
            continue  # A library's.
        if layer_of(target, layers) not in [own, *allowed]:
            yield Breach("layer", path, number, f"{own} may not include {target}", target)


def mentions(folder):
    """All words of the sources in a folder, or None where there are none."""
    files = [p for p in (ROOT / folder).rglob("*") if p.suffix in CODE]
    return set(re.findall(r"\w+", " ".join(p.read_text() for p in files))) if files else None


def check_mentions():
    """Every public function has an API test; every op a reference case and a conformance test."""
    tested = mentions("tests/api") or set()
    for header in (p for p in source_files() if p.startswith("runtime/include/")):
        text = (ROOT / header).read_text()
        for match in re.finditer(r"CORM_API[^;(]*?\b(corm_\w+)\(", text):
            if match.group(1) not in tested:
                line = text.count("\n", 0, match.start(1)) + 1
                yield Breach("api", header, line, f"{match.group(1)} has no test", match.group(1))
    ops = "runtime/ops/ops.h"
    text = (ROOT / ops).read_text()
    for folder in ("backends/reference", "tests/conformance", "tools/bench"):
        known = mentions(folder)
        for match in re.finditer(r"\bstruct (\w+Op) ", text):
            if known is not None and match.group(1) not in known:
                line = text.count("\n", 0, match.start()) + 1
                what = f"{match.group(1)} is not mentioned in {folder}"
                yield Breach("op", ops, line, what, match.group(1))


def apply_exceptions(breaches):
    """Drops breaches that limits.txt excepts, and adds exceptions that except nothing."""
    left = list(breaches)
    limits = "tests/tidy/limits.txt"
    for number, line in enumerate((ROOT / limits).read_text().split("\n"), 1):
        if not line or line.startswith("#"):
            continue
        rule, where, *reason = line.split(maxsplit=2)
        path, _, name = where.partition(":")
        excepted = [b for b in left if b.rule == rule and b.path == path and name in ("", b.name)]
        if not reason:
            left.append(Breach("limits", limits, number, "gives no reason"))
        elif not excepted:
            left.append(Breach("limits", limits, number, f"is not needed any more: {rule} {where}"))
        left = [b for b in left if b not in excepted]
    return left


def run_rules():
    layers = read_layers()
    breaches = []
    for path in source_files():
        text = (ROOT / path).read_text()
        code = without_comments_and_strings(text) if pathlib.Path(path).suffix in CODE else ""
        breaches += check_lengths(path, text, code)
        breaches += check_opening(path, text)
        if pathlib.Path(path).suffix in CODE:
            breaches += check_words(path, text, code)
            breaches += check_layers(path, text, layers)
    breaches += check_mentions()
    return apply_exceptions(breaches)


def run_headers(compiler, flags):
    """Compiles every header alone, syntax only."""
    def compile_one(path):
        command = [*compiler.split(), "-x", "c++", "-std=c++20", "-fsyntax-only", f"-I{ROOT}",
                   *flags, str(ROOT / path)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        errors = [line for line in run.stderr.split("\n") if "error" in line] or [run.stderr]
        what = "does not compile alone: " + errors[0]
        return [] if run.returncode == 0 else [Breach("header", path, 1, what)]

    headers = [p for p in source_files() if p.endswith(".h") and not p.startswith("shaders/")]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return [b for found in pool.map(compile_one, headers) for b in found]


def self_test():
    """Feeds each rule a text that breaks it, and one that only looks as if it did."""
    failures = []

    def expect(name, got, want):
        if got != want:
            failures.append(Breach("self-test", "tests/tidy/tidy.py", 1,
                                   f"{name}: got {got!r}, want {want!r}"))

    blank = without_comments_and_strings
    code = blank("// throw\nint a = '\\''; f(\"{ throw\"); /* } */ int b = 1'000;\n")
    expect("comments and strings are blanked", re.findall(r"throw|\{|\}", code), [])
    body = "  x();\n" * 80
    found = functions(blank(f"namespace n {{\nstruct S {{\n  int f() {{ return 1; }}\n}};\n"
                            f"void Long(int a,\n          int b) {{\n{body}}}\n}}\n"))
    expect("function lengths", found, [("f", 3, 1), ("Long", 5, 83)])
    found = functions("S::S(int a) : a_{a}, b_(1), c_{2} {\n}\nint k[] = {f(1), 2};\n")
    expect("constructors and initializers", [name for name, _, _ in found], ["S"])
    rules = [b.rule for b in check_words("models/a.cc", "throw 1;\n", "throw 1;\n")]
    expect("exceptions", rules, ["exceptions"])
    line = "unsigned long tokens_count;"
    expect("sizes", [b.rule for b in check_words("runtime/include/a.h", line, line)], ["size"])
    layers = {"platform": ["runtime/base"], "runtime/base": [], "backends/*": ["runtime/base"],
              "backends/backend.h": [], "tests": ["*"]}
    up = '#include "backends/cpu/a.h"\n#include "absl/b.h"\n'
    expect("layers: up", len(list(check_layers("platform/a.cc", up, layers))), 1)
    expect("layers: own", len(list(check_layers("backends/cpu/b.cc", up, layers))), 0)
    expect("layers: across", len(list(check_layers("backends/gpu/b.cc", up, layers))), 1)
    expect("layers: tests", len(list(check_layers("tests/b.cc", up, layers))), 0)
    wide = "x" * (LINE_MAX + 1)
    expect("line", [b.rule for b in check_lengths("a.py", wide + "\n", "")], ["line"])
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("what", choices=["rules", "headers", "self-test"])
    parser.add_argument("--compiler", default="c++")
    parser.add_argument("--flags", default="-I" + str(ROOT / "runtime/include"))
    options = parser.parse_args()
    if options.what == "rules":
        breaches = run_rules()
    elif options.what == "headers":
        breaches = run_headers(options.compiler, options.flags.split())
    else:
        breaches = self_test()
    for line in [*breaches, f"{len(breaches)} breaches" if breaches else "no breach"]:
        print(line)
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
