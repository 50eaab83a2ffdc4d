"""Models of random weights (tools/gpu/make_model.py): the weights are as promised, and they run.

    make_model_test.py CORMORANT     the path of the executable; ends with 77 without numpy or gguf

Method: a small model of each type. Its weights are dequantized by the `gguf` package and must have
mean 0 and the deviation that keeps activations of ordinary size; types the runtime knows are loaded
and must give finite logits that differ from token to token.
"""
import math
import pathlib
import subprocess
import sys
import tempfile
import unittest

try:
    import gguf
    import numpy as np
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools/gpu"))
import gguf_header
import make_model

CLI = sys.argv[1]
LOADABLE = ("F16", "Q8_0", "Q4_0", "Q4_1", "Q4_K")
TEXT, TOKENS = "An ordinary text of more than twenty-four bytes.", 24


class MakeModel(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def make(self, kind, text="tiny", **more):
        path = self.folder / f"{kind}.gguf"
        make_model.make(path, make_model.read_shape(text), kind, **more)
        return path

    def test_weights_have_the_deviation_of_their_matrix(self):
        for kind in make_model.TYPES:
            wanted = {name: gain for name, _, width, gain in make_model.matrices(
                make_model.SHAPES["tiny"], 260) if width}
            for tensor in gguf.GGUFReader(self.make(kind)).tensors:
                weights = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
                name = tensor.name.removesuffix(".weight")
                if name not in wanted:
                    self.assertTrue((weights == 1).all(), name)
                    continue
                self.assertEqual(tensor.tensor_type.name, kind)
                deviation = wanted[name] / math.sqrt(weights.shape[1])
                # Scales are one for up to 256 weights, so the deviation is that of some hundreds.
                self.assertLess(abs(weights.std() / deviation - 1), 0.06, f"{kind} {name}")
                self.assertLess(abs(weights.mean() / deviation), 0.03, f"{kind} {name}")

    def test_every_loadable_type_gives_finite_logits(self):
        for kind in LOADABLE:
            out = self.folder / "logits"
            text = self.folder / "text"
            text.write_text(TEXT)
            subprocess.run([CLI, "logits", "-m", self.make(kind), "--backend", "cpu", "-f", text,
                            "--tokens", str(TOKENS), "-o", out], check=True, capture_output=True)
            logits = np.fromfile(out, np.float32).reshape(TOKENS, -1)
            self.assertTrue(np.isfinite(logits).all(), kind)
            self.assertTrue((logits.std(axis=1) > 0.3).all(), kind)
            self.assertTrue((logits.std(axis=1) < 30).all(), kind)
            self.assertGreater(len(set(logits.argmax(axis=1))), TOKENS // 4, kind)

    def test_a_vocabulary_is_padded_and_a_donors_is_copied(self):
        donor = self.make("F16")
        path = self.make("Q8_0", "1,64,96,4,2,16,300", donor=donor)
        metadata, tensors = gguf_header.read(path)
        own = gguf_header.read(donor)[0]
        tokens = metadata["tokenizer.ggml.tokens"].content
        self.assertEqual(tokens[:260], own["tokenizer.ggml.tokens"].content)
        self.assertEqual(len(tokens), 300)
        self.assertEqual(len(metadata["tokenizer.ggml.token_type"].content), 300)
        self.assertEqual(metadata["tokenizer.ggml.merges"], own["tokenizer.ggml.merges"])
        sizes = {tensor.name: tensor.bytes for tensor in tensors}
        self.assertEqual(sizes["output.weight"], 20416)  # 20400, padded.
        self.assertEqual(gguf_header.bytes_per_token(path),
                         sum(sizes.values()) - sizes["token_embd.weight"])

    def test_shapes_that_cannot_be_are_refused(self):
        for text in ("9B", "1,2,3", "1,64,64,3,2,32,300", "1,63,64,2,2,32,300"):
            with self.assertRaises(make_model.argparse.ArgumentTypeError):
                make_model.read_shape(text)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
