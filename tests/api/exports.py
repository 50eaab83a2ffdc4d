"""The shared library exports the C API and nothing else: exports.py NM LIBRARY."""
import subprocess
import sys

nm, library = sys.argv[1:]
lines = subprocess.run([nm, "-D", "--defined-only", library], capture_output=True, text=True,
                       check=True).stdout.split("\n")
names = [line.split()[-1].split("@")[0] for line in lines if line]
foreign = [name for name in names if not name.startswith("corm_")]
print(f"{len(names)} exported symbols" + (f", foreign: {foreign[:20]}" if foreign else ""))
sys.exit(1 if foreign or not names else 0)
