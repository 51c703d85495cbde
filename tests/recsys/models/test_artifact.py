"""Packed arrays against the safetensors library itself, and files that are not whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recsys.data.ratings import RatingScale
from recsys.errors import InputError
from recsys.models.artifact import load_artifact, open_arrays, save_artifact, write_arrays
from recsys.models.base import ModelArtifact

DTYPES = st.sampled_from(["f4", "f8", "i4", "i8", "u1", "?", "f2", "u8"])


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text("abc/._0", min_size=1, max_size=6),
        DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))),
        min_size=1,
        max_size=4,
    )
)
def test_the_library_reads_what_we_write_and_we_what_it_writes(
    tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, np.ndarray]
) -> None:
    folder = tmp_path_factory.mktemp("arrays")
    write_arrays(folder / "ours", arrays, {"note": "é"})
    safetensors.numpy.save_file(arrays, folder / "theirs")
    ours, metadata = open_arrays(folder / "ours")
    theirs, _ = open_arrays(folder / "theirs")
    library = safetensors.numpy.load_file(folder / "ours")
    assert metadata == {"note": "é"}
    for name, array in arrays.items():
        for read in (ours[name], theirs[name], library[name]):
            assert read.dtype == array.dtype
            assert read.shape == array.shape
            np.testing.assert_array_equal(read, array)


def test_opened_arrays_are_aligned_views_that_cannot_be_written(tmp_path: Path) -> None:
    arrays = {
        "odd": np.arange(3, dtype=np.uint8),
        "wide": np.arange(5, dtype=np.float64),
        "f": np.ones(7, "f4"),
    }
    write_arrays(tmp_path / "arrays", arrays)
    opened, _ = open_arrays(tmp_path / "arrays")
    for array in opened.values():
        assert array.flags.aligned
        assert not array.flags.owndata
        assert not array.flags.writeable


def test_what_is_not_whole_is_refused(tmp_path: Path) -> None:
    member = ModelArtifact("bias", {"mean": 3.5}, {"user_bias": np.ones(100, "f4")}, RatingScale(1, 5))
    save_artifact(tmp_path, member)
    assert load_artifact(tmp_path).settings == {"mean": 3.5}
    assert load_artifact(tmp_path).scale == RatingScale(1, 5)
    whole = (tmp_path / "arrays.safetensors").read_bytes()
    for broken in (whole[:-1], whole[:20], b"", b"\xff" * 64):
        (tmp_path / "arrays.safetensors").write_bytes(broken)
        with pytest.raises(InputError, match=r"arrays\.safetensors cannot be read as safetensors"):
            load_artifact(tmp_path)
    (tmp_path / "member.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be read as a packed member"):
        load_artifact(tmp_path)
    with pytest.raises(ValueError, match="which safetensors cannot hold"):
        write_arrays(tmp_path / "text", {"names": np.array(["a"])})
