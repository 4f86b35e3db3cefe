"""What the processor can do, as far as the kernels choose by it."""

import llvmlite.binding as llvm
from numba import config


def has_avx512(part: str = "f") -> bool:
    """Whether compiled code may use AVX-512 (a part of it); numba's CPU_NAME and CPU_FEATURES overrule the machine."""
    if config.CPU_FEATURES is not None or config.CPU_NAME is not None:
        return f"+avx512{part}" in (config.CPU_FEATURES or "")
    return bool(llvm.get_host_cpu_features().get(f"avx512{part}", False))
