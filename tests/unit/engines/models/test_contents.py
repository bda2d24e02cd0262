from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.builders.onnx_models import linear

from headwater.engines.models.contents import find_pickle, is_zip

OBJECT = {"a": Path("x"), "b": list(range(5_000))}


def _zip(**members: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name.replace("__", ".")), content)  # no time, so that ids of tests stay
    return data.getvalue()


def _npy(array: Any) -> bytes:
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_found_whatever_its_protocol(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "model").write_bytes(pickle.dumps(OBJECT, protocol))
    assert find_pickle(tmp_path / "model") == "it is a pickle"


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zlib.compress])
def test_a_packed_pickle_is_found(tmp_path: Path, pack: Any) -> None:
    (tmp_path / "model").write_bytes(pack(pickle.dumps(OBJECT)))
    assert find_pickle(tmp_path / "model") == "it is a compressed pickle"


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
def test_whatever_joblib_writes_is_a_pickle(tmp_path: Path, compress: Any) -> None:
    import joblib

    joblib.dump(OBJECT, tmp_path / "model", compress=compress)
    assert "pickle" in str(find_pickle(tmp_path / "model"))


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (_zip(a__txt=b"x", b__bin=pickle.dumps(OBJECT)), "b.bin is a pickle"),
        (_zip(weights__pkl=b""), "weights.pkl is a pickle"),
        (_zip(inner__zip=_zip(b__bin=pickle.dumps(OBJECT))), "inner.zip/b.bin is a pickle"),
        (_zip(a__npy=_npy(np.array([OBJECT]))), "a.npy is an array of Python objects"),
        (_npy(np.array([OBJECT])), "it is an array of Python objects"),
    ],
)
def test_a_pickle_inside_is_found_with_its_place(tmp_path: Path, content: bytes, where: str) -> None:
    (tmp_path / "model").write_bytes(content)
    assert find_pickle(tmp_path / "model") == where


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"xylophone",
        b"(1, 2)",
        b"count\nfoo\nbar = 1\n",
        b"class Model:\n    def __init__(self, directory):\n        pass\n",
        b"tree\nversion=v4\n",
        b'{"learner": {}}',
        linear([1, 2]),
        gzip.compress(b"text", mtime=0),
        b"BZhh",
        _npy(np.zeros(3)),
        _zip(a__npy=_npy(np.zeros(3)), model__py=b"class Model: pass\n"),
        _zip(a__txt=b"x")[:-10],
    ],
)
def test_what_is_no_pickle_is_not_taken_for_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model").write_bytes(content)
    assert find_pickle(tmp_path / "model") is None


def test_an_archive_is_told_by_how_it_begins(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(_zip(a=b""))
    (tmp_path / "b").write_bytes(b"P")
    assert is_zip(tmp_path / "a")
    assert not is_zip(tmp_path / "b")
