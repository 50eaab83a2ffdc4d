#!/usr/bin/env python3
"""Draws the KV memory of a long conversation, with and without a cap, as an SVG picture.

    cormorant chat -m MODEL --script TURNS --kv-cap 8M --json > capped.jsonl
    cormorant chat -m MODEL --script TURNS --json > full.jsonl
    tools/plot_memory.py capped.jsonl [full.jsonl] [-o docs/images/memory.svg]

Every point is one turn as `chat --json` reported it. Where the run without a cap ends (at the
model's context, or because there is none), its line goes on dashed: what the capped conversation's
tokens would take as full f16 rows, which each turn reports as well.
"""
import argparse
import json
import math
import pathlib

WIDTH, HEIGHT = 860, 440
LEFT, RIGHT, TOP, BOTTOM = 78, 200, 52, 62
CAPPED, FULL, CAP, INK, FAINT = "#0b7a75", "#d1495b", "#8d99ae", "#22223b", "#e4e6eb"
MIB = 1 << 20


def read_turns(path):
    """(tokens, bytes, bytes of a full f16 cache) after each turn, from zero on."""
    turns = [json.loads(line) for line in pathlib.Path(path).read_text().splitlines() if line]
    points = [(t["kv"]["tokens"], t["kv"]["bytes"], t["kv"]["bytes_full_f16"]) for t in turns]
    return [(0, 0, 0), *points], turns[-1]["memory"]


def nice_step(largest, steps):
    """A round step (1, 2 or 5 times a power of ten) that divides `largest` into about `steps`."""
    raw = largest / steps
    power = 10 ** math.floor(math.log10(raw))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= raw)


class Picture:
    def __init__(self, tokens_max, mib_max):
        self.tokens_max, self.mib_max = tokens_max, mib_max
        self.parts = []

    def x(self, tokens):
        return LEFT + (WIDTH - LEFT - RIGHT) * tokens / self.tokens_max

    def y(self, mib):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * mib / self.mib_max

    def line(self, points, color, dash="", width=2.5):
        path = " ".join(f"{self.x(t):.1f},{self.y(m):.1f}" for t, m in points)
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" '
                          f'stroke-width="{width}" stroke-linejoin="round"{dashes}/>')

    def text(self, x, y, text, color=INK, anchor="start", size=13, weight="normal"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" fill="{color}" text-anchor="{anchor}" '
                          f'font-size="{size}" font-weight="{weight}">{text}</text>')

    def axes(self):
        step = nice_step(self.mib_max, 5)
        for i in range(int(self.mib_max / step) + 1):
            self.line([(0, i * step), (self.tokens_max, i * step)], FAINT, width=1)
            self.text(LEFT - 8, self.y(i * step) + 4, f"{i * step:g} MiB", anchor="end", size=12)
        step = nice_step(self.tokens_max, 6)
        for i in range(int(self.tokens_max / step) + 1):
            at = self.x(i * step)
            self.text(at, HEIGHT - BOTTOM + 20, f"{int(i * step):,}", anchor="middle", size=12)
        self.line([(0, 0), (self.tokens_max, 0)], INK, width=1.2)
        self.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, "tokens of conversation so far",
                  anchor="middle")

    def svg(self, title):
        head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
                f'width="{WIDTH}" height="{HEIGHT}" font-family="system-ui, sans-serif" '
                f'role="img" aria-label="{title}">')
        paper = f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#ffffff"/>'
        return "\n".join([head, paper, *self.parts, "</svg>"]) + "\n"


def draw(capped_path, full_path):
    capped, memory = read_turns(capped_path)
    full = read_turns(full_path)[0] if full_path else [(0, 0, 0)]
    last = full[-1]
    # Dashed from the end of the real line on, starting where that line stands.
    offset = last[1] - last[2]
    beyond = [(last[0], last[1])] + [(t, f + offset) for t, _, f in capped if t > last[0]]
    top = max([bytes_ for _, bytes_ in beyond] + [memory["kv_cap"]]) / MIB
    picture = Picture(max(capped[-1][0], last[0]), top * 1.06)
    picture.axes()
    if memory["kv_cap"]:
        cap = memory["kv_cap"] / MIB
        picture.line([(0, cap), (picture.tokens_max, cap)], CAP, dash="3 4", width=1.5)
        picture.text(picture.x(picture.tokens_max * 0.6), picture.y(cap) - 8, f"cap {cap:g} MiB",
                     CAP, size=12)
    picture.line([(t, b / MIB) for t, b in beyond], FULL, dash="7 5")
    if len(full) > 1:
        picture.line([(t, b / MIB) for t, b, _ in full], FULL)
        picture.text(picture.x(last[0]) + 12, picture.y(last[1] / MIB) + 16,
                     f"without a cap it had to end here, at {last[0]:,} tokens", FULL, size=12)
    picture.line([(t, b / MIB) for t, b, _ in capped], CAPPED, width=3)
    end = WIDTH - RIGHT + 12
    picture.text(end, picture.y(beyond[-1][1] / MIB) + 4, "without a cap", FULL, weight="600")
    picture.text(end, picture.y(beyond[-1][1] / MIB) + 21, f"{beyond[-1][1] / MIB:.0f} MiB", FULL)
    picture.text(end, picture.y(capped[-1][1] / MIB) - 9, "with Cormorant's cap", CAPPED,
                 weight="600")
    picture.text(end, picture.y(capped[-1][1] / MIB) + 8, f"{capped[-1][1] / MIB:.1f} MiB", CAPPED)
    title = "KV cache over one conversation"
    picture.text(LEFT, 30, title, size=17, weight="600")
    return picture.svg(title)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("capped", help="chat --json output of the conversation under a cap")
    parser.add_argument("full", nargs="?", help="the same without a cap, as far as it went")
    parser.add_argument("-o", "--out", default="memory.svg")
    options = parser.parse_args()
    out = pathlib.Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(draw(options.capped, options.full))
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
