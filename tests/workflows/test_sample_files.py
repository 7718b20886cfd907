"""The files that samples lie in."""

import sys

import pytest

from noisette.base.errors import Refusal
from noisette.workflows.sample_files import check_has_library


def test_a_missing_library_is_told_as_where_parquet_is_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(Refusal, match=r"^parquet files need the extra 'hub': pip install 'noisette\[hub\]'$"):
        check_has_library("parquet")
