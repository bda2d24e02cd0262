"""Server processes carry no library that they do not use."""

from __future__ import annotations

import subprocess
import sys


def test_arrow_works_without_pandas_being_imported() -> None:
    code = (
        "import sys\n"
        "from headwater.core.lean import keep_pandas_out\n"
        "keep_pandas_out()\nkeep_pandas_out()\n"
        "import pyarrow as pa\n"
        "assert pa.array(['a', None]).to_pylist() == ['a', None]\n"
        "assert 'pandas' not in sys.modules\n"
        "try:\n    import pandas\nexcept ModuleNotFoundError:\n    pass\nelse:\n    raise AssertionError\n"
    )

    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert outcome.returncode == 0, outcome.stderr


def test_logging_carries_no_rich_and_leaves_it_to_others() -> None:
    code = (
        "import sys\n"
        "from headwater.core.logging import configure_logging\n"
        "from headwater.core.setting_sections import LogSettings\n"
        "configure_logging(LogSettings(), process='test')\n"
        "assert 'rich' not in sys.modules, 'rich'\n"
        "import rich.console\n"
    )

    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert outcome.returncode == 0, outcome.stderr


def test_frugality_is_for_what_is_loaded_later_and_overrules_nobody() -> None:
    code = (
        "import os\n"
        "os.environ['OPENBLAS_NUM_THREADS'] = '3'\n"
        "from headwater.core.lean import be_frugal, release_memory\n"
        "be_frugal()\nrelease_memory()\n"
        "import pyarrow\n"
        "assert os.environ['OPENBLAS_NUM_THREADS'] == '3'\n"
        "assert pyarrow.default_memory_pool().backend_name == 'system'\n"
    )

    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert outcome.returncode == 0, outcome.stderr


def test_a_service_of_models_and_its_sidecar_load_no_library_of_tables() -> None:
    code = (
        "import sys\n"
        "from headwater.core.lean import keep_pandas_out, kept_out\n"
        "keep_pandas_out()\n"
        "with kept_out('rich'):\n    import headwater.services.app, headwater.services.inference.service\n"
        "import headwater.services.inference.sidecar.__main__\n"
        "found = {'duckdb', 'deltalake', 'pyarrow.parquet', 'rich', 'pandas', 'sklearn'} & set(sys.modules)\n"
        "assert not found, found\n"
    )

    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert outcome.returncode == 0, outcome.stderr
