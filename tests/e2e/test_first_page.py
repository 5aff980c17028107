"""The script of the first page, run by node."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.e2e.typescript import needs_node, run_node
from zmartd.http import pages

SCRIPT = Path(pages.__file__).parent / "first_page" / "script.js"


@needs_node
async def test_amounts_are_rounded_to_two_decimals() -> None:
    rounding = "".join(
        re.findall(r"^const LAMPORTS.*?;|^function sol.*?^}", SCRIPT.read_text(), re.MULTILINE | re.DOTALL)
    )
    amounts = ["0", "4999999", "5000000", "994999999", "1999999999", "12345678901234567890"]
    shown = await run_node("-e", f"{rounding}; console.log(JSON.stringify({json.dumps(amounts)}.map(sol)))")
    assert json.loads(shown) == [
        "0.00 SOL",
        "0.00 SOL",
        "0.01 SOL",
        "0.99 SOL",
        "2.00 SOL",
        "12345678901.23 SOL",
    ]
