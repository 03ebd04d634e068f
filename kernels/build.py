"""Compiles every kernel to PTX with NVRTC, and looks at what ptxas makes of it. Called by kernels/check.

    build.py WHEELS write            kernels/ptx/NAME.ARCH.ptx.gz for both targets
    build.py WHEELS compare          fails where the committed PTX is another, or a kernel spills more than its file states
    build.py WHEELS write gemv       one kernel
"""
import ctypes
import gzip
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGETS = {"80": ("compute_80", "sm_80"), "90a": ("compute_90a", "sm_90a")}


def nvrtc(wheels):
    folder = wheels / "cuda_nvrtc" / "lib"
    ctypes.CDLL(str(folder / "libnvrtc-builtins.so.12.4"), mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(folder / "libnvrtc.so.12"))


def compile(lib, source, target):
    """PTX of one file; exits with the compiler's words where it fails or warns."""
    options = [f"--gpu-architecture={target}", "--std=c++17", f"-I{HERE}", "-default-device"]
    program = ctypes.c_void_p()
    lib.nvrtcCreateProgram(ctypes.byref(program), source.read_bytes(), source.name.encode(), 0, None, None)
    array = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
    status = lib.nvrtcCompileProgram(program, len(options), array)
    size = ctypes.c_size_t()
    lib.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    lib.nvrtcGetProgramLog(program, log)
    if status != 0 or log.value.strip():
        sys.exit(f"{source.name}, {target}: NVRTC (status {status}) says:\n{log.value.decode()}")
    lib.nvrtcGetPTXSize(program, ctypes.byref(size))
    ptx = ctypes.create_string_buffer(size.value)
    lib.nvrtcGetPTX(program, ptx)
    return ptx.value.decode()


def ptxas(wheels, ptx, arch):
    """(kernel, registers, spilled bytes, shared bytes) of each kernel."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "k.ptx"
        file.write_text(ptx)
        tool = wheels / "cuda_nvcc" / "bin" / "ptxas"
        done = subprocess.run([tool, f"-arch={arch}", "-v", "--warning-as-error", "-o", f"{folder}/k.cubin", file], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"ptxas {arch}: {done.stderr}")
    found = []
    for part in re.split(r"Compiling entry function '", done.stderr)[1:]:
        spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", part)
        found.append((part.split("'")[0], int(re.search(r"Used (\d+) registers", part)[1]), max(int(spills[1]), int(spills[2]))))
    return found


def main():
    wheels, action, names = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    lib = nvrtc(wheels)
    sources = sorted(s for s in HERE.glob("*.cu") if not names or s.stem in names)
    wrong = []
    with ThreadPoolExecutor(2) as pool:
        jobs = []
        for source in sources:
            for target, (compute, arch) in TARGETS.items():
                ptx = compile(lib, source, compute)
                file = HERE / "ptx" / f"{source.stem}.{target}.ptx.gz"
                if action == "write":
                    file.parent.mkdir(exist_ok=True)
                    file.write_bytes(gzip.compress(ptx.encode(), 9, mtime=0))
                elif not file.exists() or gzip.decompress(file.read_bytes()).decode() != ptx:
                    wrong.append(f"{file.relative_to(HERE.parent)} is stale: run kernels/check --write")
                jobs.append((source, arch, pool.submit(ptxas, wheels, ptx, arch)))
        for source, arch, job in jobs:
            stated = re.search(r"^// Spill limit: (\d+) bytes", source.read_text(encoding="utf-8"), re.M)
            if not stated:
                wrong.append(f"{source.name} states no spill limit")
                continue
            for kernel, registers, spilled in job.result():
                print(f"{source.name:16} {arch:7} {kernel:16} {registers:4} registers {spilled:5} bytes spilled")
                if spilled > int(stated[1]):
                    wrong.append(f"{kernel} ({arch}) spills {spilled} bytes; {source.name} states {stated[1]}")
    expected = {f"{s.stem}.{t}.ptx.gz" for s in HERE.glob("*.cu") for t in TARGETS}
    wrong += [f"kernels/ptx/{f.name} belongs to no kernel" for f in (HERE / "ptx").glob("*") if f.name not in expected]
    if wrong:
        sys.exit("\n".join(wrong))


main()
