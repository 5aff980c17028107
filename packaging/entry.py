"""What the single file `zmartd` runs: the command line, or one of its modules as a program of its own.

`sys.executable` is that file there, and `sys.executable -m zmartd.embedded.localnet` starts what it
starts with an installed package.
"""

from __future__ import annotations

import runpy
import sys

from zmartd.cli import main

if sys.argv[1:2] == ["-m"] and len(sys.argv) > 2 and sys.argv[2].startswith("zmartd."):
    module = sys.argv[2]
    del sys.argv[1:3]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
else:
    main(prog_name="zmartd")
