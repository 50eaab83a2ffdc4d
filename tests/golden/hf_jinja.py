"""The reference for chat templates: jinja2, set up as Hugging Face transformers sets it up.

transformers compiles templates in an ImmutableSandboxedEnvironment with trim_blocks and
lstrip_blocks, the loop controls extension, a `generation` tag, and its own tojson, namespace and
dict. `now` fixes the clock of strftime_now.
"""
import datetime
import functools
import json

import jinja2
import jinja2.ext
import jinja2.sandbox
import jinja2.utils


class Generation(jinja2.ext.Extension):
    """{% generation %} marks what the model wrote; the text is that of the block."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_text")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _text(self, caller):
        return caller()


class PlainDict:
    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)


class PublicNamespace(jinja2.utils.Namespace):
    """A namespace whose attributes cannot begin with an underscore."""

    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        attributes = dict(*args, **kwargs)
        for name in attributes:
            PublicNamespace.check(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name, value):
        PublicNamespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"private attribute {name!r}")


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


def environment(now=None):
    def strftime_now(pattern):
        moment = datetime.datetime.now() if now is None else datetime.datetime.fromtimestamp(
            now, datetime.timezone.utc).replace(tzinfo=None)
        return moment.strftime(pattern)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals.update(raise_exception=raise_exception, strftime_now=strftime_now,
                       dict=PlainDict(), namespace=PublicNamespace)
    return env


@functools.lru_cache(maxsize=64)
def compiled(source, now):
    return environment(now).from_string(source)


def render(source, messages, tools=None, add_generation_prompt=True, bos_token="", eos_token="",
           extra=None, now=None):
    """The text of the template; raises what jinja2 raises."""
    variables = {"documents": None, **(extra or {}), "messages": messages, "tools": tools,
                 "add_generation_prompt": add_generation_prompt, "bos_token": bos_token,
                 "eos_token": eos_token}
    return compiled(source, now).render(**variables)
