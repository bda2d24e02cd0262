"""Server processes carry no library that they do not use."""

from __future__ import annotations

import subprocess
import sys


def test_arrow_works_without_pandas_being_imported() -> None:
    code = (
        "import sys\n"
        "from headwater.cli.lean import keep_pandas_out\n"
        "keep_pandas_out()\nkeep_pandas_out()\n"
        "import pyarrow as pa\n"
        "assert pa.array(['a', None]).to_pylist() == ['a', None]\n"
        "assert 'pandas' not in sys.modules\n"
        "try:\n    import pandas\nexcept ModuleNotFoundError:\n    pass\nelse:\n    raise AssertionError\n"
    )

    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert outcome.returncode == 0, outcome.stderr
