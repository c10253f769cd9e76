"""The machine: processor, memory, GPU, where the journal lies, and whether the ports are free."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

import zmq

from engine.runtime.base import EngineError
from engine.runtime.driver import GPU, count_gpus, find_gpu
from engine.runtime.openvino import DEVICE, shared_core
from stream.config_problem import ConfigError
from stream.doctor.check import Check
from stream.home import expanded
from stream.journal_file import default_path
from stream.reload import running_process

MIB = 1 << 20
LITTLE_MEMORY_MIB = 512  # the core, one worker and one engine are some 350 MiB
_NVIDIA = "0x10de"
# As Linux names them; what each is good for here.
_INSTRUCTIONS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16")
_INT8_INSTRUCTIONS = {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"}


def system() -> Check:
    """Versions that a report of a problem should name."""
    found = f"swinstream {version('swinstream')}, Python {platform.python_version()}, {platform.platform(terse=True)}"
    return Check("system", True, found)


def processor(info: Path = Path("/proc/cpuinfo")) -> Check:
    """The CPU, the cores that this process may use, and the instructions that make networks fast. info: Linux's."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fields = _first_processor(info)
    name = fields.get("model name") or platform.processor() or platform.machine()
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    has = [flag for flag in _INSTRUCTIONS if flag in flags]
    return Check("processor", True, f"{name}, {cores} cores{', ' + ' '.join(has) if has else ''}")


def precisions(info: Path = Path("/proc/cpuinfo")) -> Check:
    """What OpenVINO computes in on this CPU."""
    capabilities = shared_core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
    can = [name.lower() for name in ("FP32", "BF16", "INT8") if name in capabilities]
    flags = set(_first_processor(info).get("flags", _first_processor(info).get("Features", "")).split())
    slow = "int8" in can and flags and not flags & _INT8_INSTRUCTIONS
    return Check("precisions", True, ", ".join(can) + (" (without VNNI int8 is no faster than fp32)" if slow else ""))


def memory(info: Path = Path("/proc/meminfo")) -> Check:
    """What is free. info: Linux's."""
    try:
        sizes = dict(line.split(":", 1) for line in info.read_text(encoding="ascii").splitlines())
        total, free = (int(sizes[key].split()[0]) // 1024 for key in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return Check("memory", True, "not known on this system")
    few = free < LITTLE_MEMORY_MIB
    advice = f"less than {LITTLE_MEMORY_MIB} MiB are free: end other programs, or watch fewer cameras" if few else ""
    return Check("memory", not few, f"{total:,} MiB, {free:,} MiB free", advice)


def gpus(devices: Path = Path("/sys/bus/pci/devices"), module: Path = Path("/sys/module/nvidia/version")) -> Check:
    """NVIDIA's driver and GPUs, asked through the driver's library. devices, module: where Linux lists them."""
    try:
        found = [find_gpu(number) for number in range(count_gpus())]
    except EngineError as error:
        return Check("NVIDIA GPU", False, str(error), _driver_advice(devices, module))
    if not found:
        return Check("NVIDIA GPU", False, "the NVIDIA driver shows no GPU", "see nvidia-smi, and CUDA_VISIBLE_DEVICES")
    driver = _text(module)
    supported = f"driver {driver + ', ' if driver else ''}{found[0].driver}"
    return Check("NVIDIA GPU", True, f"{'; '.join(map(_gpu_text, found))}; {supported}")


def journal(path: Path | None, max_mib: int) -> tuple[Check, int | None]:
    """Whether it can be written, and the process that writes it now. path: None for the default one.

    max_mib: what it may grow to.
    """
    path = expanded(path or default_path()).resolve()
    folder = next(parent for parent in path.parents if parent.is_dir())
    free_mib = shutil.disk_usage(folder).free // MIB
    found = f"{path}, {free_mib:,} MiB free"
    elsewhere = "make the folder writable for this user, or give another file: --journal FILE"
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Check("journal", False, f"{found}; {folder}: {error.strerror}", elsewhere, needed=True), None
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        return Check("journal", False, f"{found}; this user may not write it", elsewhere, needed=True), None
    try:
        process = running_process(path)
    except ConfigError:
        process = None
    if process is not None:
        found += f"; swinstream runs with it now (process {process})"
    little = free_mib < max_mib
    advice = f"it may grow to {max_mib} MiB: make room, or set journal.max_size_mb lower" if little else ""
    return Check("journal", not little, found, advice, needed=free_mib == 0), process


def port(name: str, address: str, process: int | None) -> Check:
    """Whether one of ZeroMQ's addresses can be listened on. process: of swinstream that runs now and may have it."""
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            if process is not None and error.errno == zmq.EADDRINUSE:
                return Check(f"{name} port", True, f"{address}: in use, by swinstream (process {process})", needed=True)
            advice = f"end the program that has it, or give another address: --{name} ADDRESS"
            return Check(f"{name} port", False, f"{address}: {error.strerror}", advice, needed=True)
    return Check(f"{name} port", True, f"{address} is free", needed=True)


def _driver_advice(devices: Path, module: Path) -> str:
    if module.exists():
        return "the driver runs, but libcuda.so.1 is not here: apt install libcuda1; for a container --gpus all"
    vendors = (_text(device / "vendor") for device in devices.glob("*") if _text(device / "class").startswith("0x03"))
    if _NVIDIA in vendors:
        return "there is an NVIDIA card: apt install nvidia-driver (Debian: contrib and non-free), then restart"
    return ""


def _gpu_text(gpu: GPU) -> str:
    return f"{gpu.number}: {gpu}"


def _first_processor(info: Path) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in _text(info).splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), value.strip())
    return fields


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
