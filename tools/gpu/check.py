"""What the parts of tools/gpu-check share: folders, commands with logs, and what a part comes to.

A part is a function that takes a Check, adds figures and lines of the report to `check.part`, and
raises Failure, or LeftOut where it means nothing. What a part finds wrong without having to stop
goes into `problems`; one problem makes it a failed part.
"""
import dataclasses
import importlib.util
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"


class Failure(Exception):
    """The part cannot go on."""


class LeftOut(Exception):
    """The part means nothing here, or what it needs is not there; the text says why."""


@dataclasses.dataclass
class Part:
    name: str
    status: str = "passed"
    seconds: float = 0.0
    problems: list = dataclasses.field(default_factory=list)
    commands: list = dataclasses.field(default_factory=list)
    lines: list = dataclasses.field(default_factory=list)  # Markdown.
    figures: dict = dataclasses.field(default_factory=dict)  # For the JSON.

    def table(self, *rows):
        """The first row is the head."""
        head, *others = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
        self.lines += [head, "|---" * len(rows[0]) + "|", *others, ""]


class Check:
    def __init__(self, options):
        self.options = options
        self.backend = options.backend
        self.out = pathlib.Path(options.out).resolve()
        self.build = pathlib.Path(options.build or ROOT / f"build/gpu-{self.backend}").resolve()
        self.models = pathlib.Path(options.models_folder or CACHE / "models").resolve()
        self.device = {}  # See device.py.
        self.part = Part("before")
        self.last_status = 0  # Of the last command.
        self.environment = dict(os.environ)
        (self.out / "logs").mkdir(parents=True, exist_ok=True)

    def binary(self, name):
        path = self.build / "bin" / name
        if not path.exists():
            raise Failure(f"{path} is not there: the build failed, or --build names another folder")
        return path

    def log(self, name):
        return self.out / "logs" / f"{self.part.name}-{name}"

    def portable(self, command):
        """A command as another machine would run it, for the report."""
        names = {str(self.out): "OUT", str(self.build): "BUILD", str(self.models): "MODELS",
                 os.environ.get("CORMORANT_TEST_MODEL"): "MODEL", sys.executable: "python3",
                 f"{ROOT}/": "", str(ROOT): "."}
        for path, name in names.items():
            command = command.replace(path, name) if path else command
        return command

    def start(self, name, command, **environment):
        """Starts a command whose output goes to logs; see finish()."""
        command = [str(word) for word in command]
        shown = " ".join([*(f"{k}={shlex.quote(str(v))}" for k, v in environment.items()),
                          *map(shlex.quote, command)])
        print(f"   {shown}", file=sys.stderr)
        if command[0] != "bash":  # What library() calls measures nothing.
            self.part.commands.append(self.portable(shown))
        with open(self.log(f"{name}.out"), "wb") as out, open(self.log(f"{name}.err"), "wb") as err:
            return subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL,
                                    cwd=ROOT, start_new_session=True,
                                    env={**self.environment, **{
                                        k: str(v) for k, v in environment.items()}})

    def finish(self, name, process, allow_failure=False):
        """What the command wrote to stdout; Failure with the end of stderr if it failed."""
        try:
            status = process.wait(self.options.timeout)
        except BaseException as error:  # With all that it started: it leads a group of its own.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise Failure(f"{name} was still running after {self.options.timeout} s") from error
        self.last_status = status
        out = self.log(f"{name}.out").read_text(errors="replace")
        if status == 0 or allow_failure:
            return out
        said = (self.log(f"{name}.err").read_text(errors="replace").strip() or out.strip())
        raise Failure(f"{name} ended with {status}: {' / '.join(said.splitlines()[-6:])[-900:]} "
                      f"(logs: {self.log(name)}.*)")

    def run(self, name, command, allow_failure=False, **environment):
        return self.finish(name, self.start(name, command, **environment), allow_failure)

    def json(self, name, command, **environment):
        return json.loads(self.run(name, command, **environment))

    def cormorant(self, name, *arguments, **environment):
        return self.json(name, [self.binary("cormorant"), *arguments, "--json"], **environment)

    def library(self, name, call):
        """Calls a function of tools/lib.sh; returns what it printed."""
        return self.run(name, ["bash", "-c", f". {shlex.quote(str(ROOT))}/tools/lib.sh; {call}",
                               "gpu-check"])

    def model(self):
        """SmolLM2, which is fetched unless CORMORANT_TEST_MODEL names it."""
        named = os.environ.get("CORMORANT_TEST_MODEL")
        if named:
            return pathlib.Path(named)
        return pathlib.Path(self.library("model", 'fetch_model >&2; echo "$model"').strip())

    def writer(self):
        """Environment of Python programs that need numpy and gguf."""
        if all(importlib.util.find_spec(name) for name in ("numpy", "gguf")):
            return {}
        self.library("writer", "fetch_writer")
        return {"PYTHONPATH": CACHE / "python"}

    def random_model(self, shape, kind):
        """Where a model of random weights is, or will be."""
        return self.models / f"random-{shape}-{kind}.gguf"

    def make_model(self, shape, kind):
        """The path of a model of random weights, written unless it is there."""
        path = self.random_model(shape, kind)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self.run(f"make-{shape}", [
                sys.executable, ROOT / "tools/gpu/make_model.py", "--shape", shape, "--type", kind,
                "--donor", self.model(), "-o", path], **self.writer())
        return path

    def run_part(self, name, function):
        """Runs a part, whatever becomes of it."""
        self.part = Part(name)
        print(f"== {name}", file=sys.stderr)
        start = time.monotonic()
        try:
            function(self)
        except LeftOut as why:
            self.part.status = "left out"
            self.part.lines.append(f"Left out: {why}.")
        except Exception as error:  # Others still have something to show.
            kind = "" if isinstance(error, Failure) else f"{type(error).__name__}: "
            self.part.problems.append(f"{kind}{error}")
        self.part.problems = [self.portable(problem) for problem in self.part.problems]
        self.part.lines = [self.portable(line) for line in self.part.lines]
        if self.part.problems:
            self.part.status = "failed"
        self.part.seconds = time.monotonic() - start
        for problem in self.part.problems:
            print(f"   failed: {problem}", file=sys.stderr)
        print(f"   {self.part.status}, {self.part.seconds:.0f} s", file=sys.stderr)
        return self.part
