"""Points from files and to files, in pieces."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from parabolic_ma.io.pointfiles import PointReader, PointWriter, read_points
from parabolic_ma.status import FileFormatError, InputError

POINTS = np.random.default_rng(2).normal(size=(23, 3))


@pytest.fixture(params=["csv", "csv-bare", "txt", "npy", "npz", "h5"])
def path(request, tmp_path):
    kind = request.param
    name = tmp_path / f"p.{kind.partition('-')[0]}"
    if kind == "csv":
        text = "\n".join(",".join(f"{v:.17g}" for v in row) for row in POINTS)
        name.write_text(f'"a", b ,c\n# a comment\n\n{text}\n')
    elif kind == "csv-bare":
        np.savetxt(name, POINTS, delimiter=";", fmt="%.17g")
    elif kind == "txt":
        np.savetxt(name, POINTS, fmt="%.17g")
    elif kind == "npy":
        np.save(name, POINTS)
    elif kind == "npz":
        np.savez(name, other=np.ones(3), points=POINTS)
    else:
        with h5py.File(name, "w") as file:
            file["points"] = POINTS
    return name


def test_reads_every_kind(path):
    assert np.array_equal(read_points(path), POINTS)


def test_reads_pieces_of_a_part(path):
    reader = PointReader(path)
    assert (reader.rows, reader.dim) == POINTS.shape
    parts = list(reader.chunks(4, 20, size=7))
    assert [len(p) for p in parts] == [7, 7, 2]
    assert np.array_equal(np.concatenate(parts), POINTS[4:20])
    assert list(reader.chunks(5, 5)) == []


def test_chooses_columns(path):
    assert np.array_equal(read_points(path, [2, 0]), POINTS[:, [2, 0]])
    with pytest.raises(InputError, match=r"no column 3; it has 3 columns"):
        read_points(path, [3])


def test_names_of_columns(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("length,width\n1,2\n3,4\n")
    assert read_points(path, ["width"]).tolist() == [[2.0], [4.0]]
    with pytest.raises(InputError, match=r"no column 'height'; .*\(length, width\)"):
        read_points(path, ["height"])


def test_flat_arrays_are_points_on_the_line(tmp_path):
    np.save(tmp_path / "p.npy", np.arange(4))
    assert read_points(tmp_path / "p.npy").tolist() == [[0.0], [1.0], [2.0], [3.0]]


@pytest.mark.parametrize("suffix", ["csv", "npy", "h5"])
def test_writes_what_it_reads(tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    with PointWriter(path, len(POINTS), 3, "y") as writer:
        writer.append(POINTS[:10])
        assert not path.exists()
        writer.append(POINTS[10:])
    assert np.array_equal(read_points(path), POINTS)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    if suffix == "csv":
        assert path.read_text().startswith("y1,y2,y3\n")


@pytest.mark.parametrize("suffix", ["csv", "npy", "h5"])
def test_a_failure_leaves_nothing(tmp_path, suffix):
    def write_half():
        with PointWriter(tmp_path / f"o.{suffix}", 23, 3) as writer:
            writer.append(POINTS[:10])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["csv", "npy", "h5"])
def test_no_points(tmp_path, suffix):
    with PointWriter(tmp_path / f"o.{suffix}", 0, 2):
        pass
    assert read_points(tmp_path / f"o.{suffix}").shape == (0, 2)


def test_writes_to_standard_output(capsys):
    with PointWriter(None, 1, 2) as writer:
        writer.append(np.array([[0.1, 2.0]]))
    assert capsys.readouterr().out == "x1,x2\n0.10000000000000001,2\n"


def test_writing_says_what_is_wrong(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.csv, \.npy, \.h5"):
        PointWriter(tmp_path / "o.xlsx", 1, 1)
    with pytest.raises(InputError, match="does not exist"), PointWriter(tmp_path / "a/o.csv", 1, 1):
        pass


def test_reading_says_what_is_wrong(tmp_path):
    def write(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    with pytest.raises(InputError, match="there is no file"):
        read_points(tmp_path / "no.csv")
    with pytest.raises(InputError, match=r"the name must end in \.csv"):
        read_points(write("p.xlsx", b""))
    with pytest.raises(FileFormatError, match=r"empty\.csv has no rows"):
        read_points(write("empty.csv", b"\n# nothing\n"))
    with pytest.raises(
        FileFormatError, match=r"data row 2, column b: expected a number, found 'x'"
    ):
        read_points(write("word.csv", b"a,b\n1,2\n3,x\n"))
    with pytest.raises(FileFormatError, match=r"data row 2, column 1: .* found nothing"):
        read_points(write("ragged.csv", b"1,2\n3\n"))
    with pytest.raises(FileFormatError, match=r"cannot read .*broken\.npy"):
        read_points(write("broken.npy", b"no array"))
    with pytest.raises(FileFormatError, match=r"cannot read .*broken\.h5"):
        read_points(write("broken.h5", b"no file"))
    with pytest.raises(InputError, match="names an array in an npz or h5 file"):
        read_points(write("t.csv", b"1\n"), key="x")
    np.save(tmp_path / "text.npy", np.array(["a"]))
    with pytest.raises(FileFormatError, match="holds values of type <U1, not real numbers"):
        read_points(tmp_path / "text.npy")
    np.save(tmp_path / "cube.npy", np.ones((2, 2, 2)))
    with pytest.raises(FileFormatError, match=r"shape \(2, 2, 2\); points have shape"):
        read_points(tmp_path / "cube.npy")
    np.savez(tmp_path / "two.npz", a=np.ones(2), b=np.ones(2))
    with pytest.raises(InputError, match=r"has 2 arrays \(a, b\); say which with key="):
        read_points(tmp_path / "two.npz")
    with pytest.raises(InputError, match=r"has no array 'c'; it has a, b"):
        read_points(tmp_path / "two.npz", key="c")


def test_objects_are_never_unpickled(tmp_path):
    np.save(tmp_path / "o.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(FileFormatError, match=r"cannot read .*[oO]bject"):
        read_points(tmp_path / "o.npy")
