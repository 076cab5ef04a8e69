"""docs/cli.md and docs/support.md are what the programs themselves say (tools/docs writes them)."""
import os
import subprocess
import sys

import _rbee as t

r = subprocess.run([sys.executable, f"{t.ROOT}/tools/docs", "--check"], capture_output=True, text=True,
                   env={**os.environ, "RBEE_BIN": t.BIN})
t.ok(r.returncode == 0, "docs/cli.md and docs/support.md are up to date", r.stdout + r.stderr)
t.done()
