"""Reads what stands before the weights of a GGUF file: metadata and the list of tensors.

The `gguf` package does so too, but takes half a minute for a large vocabulary and needs numpy.
"""
import mmap
import os
import struct
import typing

STRING, ARRAY = 8, 9
FORMATS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd"))


class Value(typing.NamedTuple):
    kind: int  # As GGUF numbers types.
    item_kind: int | None  # Of an array's items.
    content: typing.Any


class TensorInfo(typing.NamedTuple):
    name: str
    shape: tuple  # The row's width first, as in the file.
    kind: int
    bytes: int  # With the padding behind it.


class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, layout):
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def string(self):
        length, = self.take("Q")
        self.at += length
        return self.data[self.at - length:self.at].decode("utf-8", "surrogateescape")

    def value(self):
        kind, = self.take("I")
        if kind == STRING:
            return Value(kind, None, self.string())
        if kind != ARRAY:
            return Value(kind, None, self.take(FORMATS[kind])[0])
        item_kind, count = self.take("IQ")
        if item_kind == STRING:
            return Value(kind, item_kind, [self.string() for _ in range(count)])
        return Value(kind, item_kind, list(self.take(f"{count}{FORMATS[item_kind]}")))


def read(path):
    """({key: Value}, [TensorInfo]) of a file that is whole; a damaged one raises some error."""
    size = os.path.getsize(path)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        cursor = Cursor(data)
        magic, _, tensor_count, entry_count = cursor.take("4sIQQ")
        if magic != b"GGUF":
            raise ValueError(f"{path} is no GGUF file")
        metadata = {}
        for _ in range(entry_count):
            key = cursor.string()
            metadata[key] = cursor.value()
        found = []
        for _ in range(tensor_count):
            name, (dimensions,) = cursor.string(), cursor.take("I")
            found.append((name, cursor.take(f"{dimensions}Q"), *cursor.take("IQ")))
        alignment = metadata["general.alignment"].content if "general.alignment" in metadata else 32
        begin = -(-cursor.at // alignment) * alignment
    starts = sorted(offset for *_, offset in found) + [size - begin]
    after = dict(zip(starts, starts[1:]))
    return metadata, [TensorInfo(name, shape, kind, after[offset] - offset)
                      for name, shape, kind, offset in found]


def bytes_per_token(path):
    """Bytes of weights that decoding one token reads: all but an embedding that only embeds."""
    tensors = {tensor.name: tensor.bytes for tensor in read(path)[1]}
    is_tied = "output.weight" not in tensors
    return sum(tensors.values()) - (0 if is_tied else tensors["token_embd.weight"])
