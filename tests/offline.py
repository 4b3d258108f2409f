"""Machine code for GPUs, looked at without one: how many registers it takes, whether it spills, its instructions."""

import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

CAPABILITIES = ((8, 0), (9, 0))  # A100; H100 and H200


def tool(name):
    """The path of a program of the CUDA toolkit, from the packages that the test extra installs."""
    packages = importlib.util.find_spec("nvidia")
    for folder in packages.submodule_search_locations if packages else ():
        for path in Path(folder).glob(f"*/bin/{name}*"):
            return str(path)
    if sys.platform == "linux":  # where the test extra brings it: without it nothing would be checked
        raise FileNotFoundError(f"{name} is in none of the nvidia packages: pip install -e '.[test]'")
    pytest.skip(f"the test extra brings {name} on Linux only")  # where the GPUs are that these kernels are for


def ask(name, option, binary):
    """What a program says of a kernel's machine code."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(binary.code)
        return subprocess.run([tool(name), option, path], capture_output=True, text=True, check=True).stdout


def resources(kernel, capability):
    """{"REG": registers of a thread, "STACK": bytes, "LOCAL": bytes that spill, "SHARED": bytes of a block}."""
    binary = kernel.binary(capability)
    text = ask("cuobjdump", "--dump-resource-usage", binary)
    line = re.search(rf"Function {re.escape(binary.entry)}:\s*(.*)", text).group(1)
    return {name: int(n) for name, n in re.findall(r"([A-Z]+):(\d+)", line)}


def instructions(kernel, capability):
    """The names of the instructions (SASS) of a kernel, in order, such as FFMA or LDS.128."""
    text = ask("nvdisasm", "-c", kernel.binary(capability))
    body = text.split(f".text.{kernel.binary(capability).entry}:")[1]
    return re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)", body)
