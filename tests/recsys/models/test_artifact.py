"""Packed arrays against the safetensors library itself, and files that are not whole."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
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
from recsys.types import Arrays

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
    arrays: Arrays = {
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


def crafted(header: object, data: bytes = b"\0" * 16) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: str, shape: list[int], low: int, high: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [low, high]}


@pytest.mark.parametrize(
    "content",
    [
        crafted({"a": entry("F32", [4], 0, 16), "b": entry("F32", [4], 0, 16)}),  # two arrays on each other
        crafted({"a": entry("F32", [2], 8, 16)}),  # bytes that belong to nothing
        crafted({"a": entry("F32", [4], 0, 1 << 40)}),
        crafted({"a": entry("F32", [8], 0, 16)}),  # a shape that does not fit
        crafted({"a": entry("F32", [1 << 62, 1 << 62], 0, 16)}),
        crafted({"a": entry("F32", [-4], 0, 16)}),
        crafted({"a": entry("O", [2], 0, 16)}),
        crafted({"a": entry("BF16", [8], 0, 16)}),  # a type that numpy lacks
        crafted({"a": {"dtype": "F32"}}),
        crafted([1, 2]),
        crafted(b"{" * 100),
        (1 << 62).to_bytes(8, "little") + b"{}",
    ],
)
def test_a_crafted_header_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "arrays").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as safetensors") as refused:
        open_arrays(tmp_path / "arrays")
    assert "\n" not in str(refused.value)


def test_a_file_of_before_the_library_wrote_them_is_read(tmp_path: Path) -> None:
    """The bytes that our own writer left, header padded with blanks to eight."""
    content = (
        b'\x98\x00\x00\x00\x00\x00\x00\x00{"__metadata__":{"version":"1"},'
        b'"wide":{"dtype":"F64","shape":[2],"data_offsets":[0,16]},'
        b'"narrow":{"dtype":"U8","shape":[3],"data_offsets":[16,19]}}     '
    )
    header = content[8:]
    content = len(header).to_bytes(8, "little") + header
    content += np.array([1.5, -2.5]).tobytes() + bytes([7, 8, 9])
    (tmp_path / "arrays").write_bytes(content)
    arrays, metadata = open_arrays(tmp_path / "arrays")
    assert metadata == {"version": "1"}
    assert arrays["wide"].tolist() == [1.5, -2.5]
    assert arrays["narrow"].tolist() == [7, 8, 9]


def test_a_written_file_can_be_read_by_others_and_its_failure_names_the_error(tmp_path: Path) -> None:
    path = tmp_path / "arrays"
    (tmp_path / "plain").touch()
    write_arrays(path, {"a": np.ones(3, "f4")})
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    before = path.read_bytes()
    program = (
        "import resource, sys, numpy as np\nfrom pathlib import Path\n"
        "from recsys.models.artifact import write_arrays\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "try:\n    write_arrays(Path(sys.argv[1]), {'a': np.ones(100_000, 'f4')})\n"
        "except OSError as error:\n    print(error.errno)"
    )
    command = [sys.executable, "-c", program, str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == str(errno.EFBIG)
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["arrays", "plain"]
