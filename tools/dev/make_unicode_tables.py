#!/usr/bin/env python3
"""Writes runtime/text/template/unicode_tables.cc from Python's own character database.

The template language has Python's strings, so its character classes and case mappings are Python's.
Run it with the Python whose behaviour is wanted:  make_unicode_tables.py > unicode_tables.cc
"""
import unicodedata

SURROGATES = range(0xD800, 0xE000)
CODE_POINTS = [c for c in range(0x110000) if c not in SURROGATES]


def classes(char):
    return (char.isprintable() | char.isalpha() << 1 | char.isdecimal() << 2 |
            char.isdigit() << 3 | char.isnumeric() << 4)


def class_runs():
    runs, last = [], None
    for code in range(0x110000):
        bits = 0 if code in SURROGATES else classes(chr(code))
        if bits != last:
            runs.append(code << 5 | bits)
        last = bits
    return runs


def case_ranges(mapping):
    """(first, last, step, delta) for all characters that map to one other character."""
    ranges = []
    for code in CODE_POINTS:
        mapped = mapping(chr(code))
        if len(mapped) != 1 or mapped == chr(code):
            continue
        delta = ord(mapped) - code
        last = ranges[-1] if ranges else None
        is_single = last and last[0] == last[1]
        gap = code - last[1] if last else 0
        if last and last[3] == delta and (gap == last[2] or is_single and gap <= 2):
            last[1:3] = [code, gap if is_single else last[2]]
        else:
            ranges.append([code, code, 1, delta])
    return ranges


def quoted(text):
    return '"' + "".join(f"\\{byte:03o}" for byte in text.encode()) + '"'


def specials(mapping, general):
    """Characters whose mapping is not what `general` gives or is longer than one character."""
    return [(code, mapping(chr(code))) for code in CODE_POINTS
            if (mapping(chr(code)) != general(chr(code)) or
                general is mapping and len(mapping(chr(code))) > 1)]


def emit(items, head):
    print(head)
    line = "   "
    for item in items:
        if len(line) + len(item) + 2 > 100:
            print(line)
            line = "   "
        line += " " + item + ","
    print(line)
    print("};\n")


def main():
    print("// Written by tools/dev/make_unicode_tables.py from Unicode "
          f"{unicodedata.unidata_version}; do not edit.")
    print('#include "runtime/text/template/unicode_tables.h"\n')
    print("namespace cormorant::jinja {\n")
    emit([hex(run) for run in class_runs()], "const uint32_t kClassRuns[] = {")
    for name, mapping in (("Lower", str.lower), ("Upper", str.upper)):
        emit(["{%#x, %#x, %d, %d}" % tuple(r) for r in case_ranges(mapping)],
             f"const CaseRange k{name}Ranges[] = {{")
        emit(["{%#x, %s}" % (code, quoted(text)) for code, text in specials(mapping, mapping)],
             f"const CaseSpecial k{name}Specials[] = {{")
    emit(["{%#x, %s}" % (code, quoted(text)) for code, text in specials(str.title, str.upper)],
         "const CaseSpecial kTitleSpecials[] = {")
    for name in ("ClassRuns", "LowerRanges", "UpperRanges", "LowerSpecials", "UpperSpecials",
                 "TitleSpecials"):
        print(f"const size_t k{name}Count = sizeof(k{name}) / sizeof(k{name}[0]);")
    print("\n}  // namespace cormorant::jinja")


if __name__ == "__main__":
    main()
