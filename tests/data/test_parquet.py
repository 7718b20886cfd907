"""Parquet files as the datasets library writes them."""

import io
import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from noisette.base.errors import Refusal
from noisette.data import parquet as module
from noisette.data.datasets import load_data
from noisette.data.form import Form
from noisette.data.images import NoTestPart


def png(grey, size=(3, 2)):
    with io.BytesIO() as file:
        Image.new("L", size, grey).save(file, format="PNG")
        return file.getvalue()


@pytest.fixture
def write(tmp_path):
    """Write a file of pictures, each of one grey, with labels or none; returns the folder's name."""

    def make(file, greys, labels=None, names=None, image="image", label="label", plain=False, size=(3, 2), more=None):
        contents = [None if grey is None else png(grey, size) for grey in greys]
        cells = contents if plain else [content and {"bytes": content, "path": "x.png"} for content in contents]
        kind = pa.binary() if plain else pa.struct({"bytes": pa.binary(), "path": pa.string()})
        columns = {"id": pa.array(range(len(greys))), image: pa.array(cells, kind)}
        features = {image: {"_type": "Image"}}
        if labels is not None:
            columns[label] = pa.array(labels)
            features[label] = {"_type": "ClassLabel", "names": names} if names else {"dtype": "int64", "_type": "Value"}
        columns |= more or {}
        features |= {column: {"_type": "ClassLabel", "names": ["?"]} for column in more or {}}
        metadata = None if plain else {"huggingface": json.dumps({"info": {"features": features}})}
        path = tmp_path / "set" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns, metadata=metadata), path)
        return str(tmp_path / "set")

    return make


def found(data):
    return list(zip(data.images[:, 0, 0, 0].tolist(), data.labels.tolist(), strict=True))


def test_pictures_and_named_classes_are_read(write):
    data = load_data(write("data/train-00000-of-00001.parquet", [5, 7, 9], [1, 0, 1], ["cat", "dog"]))
    assert data.images.shape == (3, 2, 3, 1)
    assert (data.images.dtype, data.labels.dtype) == (np.uint8, np.int64)
    assert (data.classes, found(data)) == (("cat", "dog"), [(5, 1), (7, 0), (9, 1)])
    assert "pictures from the column image, labels from label" in data.notes


def test_a_file_alone_and_files_of_no_split_are_for_training(write):
    folder = write("b.parquet", [3], [0], ["cat"])
    write("a.parquet", [1, 2], [0, 0], ["cat"])
    assert found(load_data(folder)) == [(1, 0), (2, 0), (3, 0)]
    assert found(load_data(f"{folder}/b.parquet")) == [(3, 0)]
    for name in (folder, f"{folder}/b.parquet"):
        with pytest.raises(NoTestPart, match="no test part"):
            load_data(name, part="test")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train-00000-of-00002.parquet", "test-00000-of-00001.parquet"),
        ("data/train-0.parquet", "data/validation-0.parquet"),
        ("training/0000.parquet", "val/0000.parquet"),
        ("train/train-0.parquet", "train/test-0.parquet"),
    ],
)
def test_parts_are_told_by_names(write, train, test):
    folder = write(train, [1, 2], [0, 1], ["cat", "dog"])
    write(test, [3], [1], ["cat", "dog"])
    assert found(load_data(folder)) == [(1, 0), (2, 1)]
    assert found(load_data(folder, part="test")) == [(3, 1)]


def test_test_goes_before_validation_and_what_is_of_no_split_is_told(write):
    folder = write("train.parquet", [1], [0], ["cat"])
    for name, grey in (("validation.parquet", 2), ("test.parquet", 3), ("extra.parquet", 4)):
        write(name, [grey], [0], ["cat"])
    assert found(load_data(folder, part="test")) == [(3, 0)]
    data = load_data(folder)
    assert found(data) == [(1, 0)]
    assert data.warnings == ("files of no known split, which are not read: extra.parquet",)


def test_hidden_files_and_folders_called_so_are_no_parquet_files(write, tmp_path):
    folder = write("train.parquet/part-0.parquet", [1, 2], [0, 1], ["cat", "dog"])  # Spark's
    for name in ("._test.parquet", "train.parquet/._part-0.parquet", ".old/test.parquet"):  # macOS's
        (tmp_path / "set" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "set" / name).write_bytes(b"Mac OS X")
    data = load_data(folder)
    assert found(data) == [(1, 0), (2, 1)]
    assert data.warnings == ()
    with pytest.raises(NoTestPart, match="no test part"):
        load_data(folder, part="test")


@pytest.mark.parametrize("labels", [[10, 2, 10], ["c10", "c2", "c10"]], ids=["numbers", "texts"])
def test_labels_without_names_name_themselves(write, labels):
    folder = write("train.parquet", [1, 2, 3], labels)
    write("test.parquet", [4], labels[:1])
    data = load_data(folder)
    assert (data.classes, found(data)) == ((str(labels[1]), str(labels[0])), [(1, 1), (2, 0), (3, 1)])
    assert found(load_data(folder, part="test")) == [(4, 1)]  # by the classes of the training part, which has two
    write("test.parquet", [4], [11] if labels[0] == 10 else ["c11"])
    with pytest.raises(Refusal, match=r"unknown label '?c?11'?: expected one of c?2, c?10;"):
        load_data(folder, part="test")


@pytest.mark.parametrize("labels", [None, [-1, -1]], ids=["no column", "all -1"])
def test_without_labels_pictures_are_of_no_class(write, labels):
    data = load_data(write("train.parquet", [1, 2], labels, ["cat"] if labels else None))
    assert (data.classes, found(data)) == ((), [(1, -1), (2, -1)])


@pytest.mark.parametrize("labels", [None, [-1, -1]], ids=["no column", "all -1"])
def test_without_labels_it_is_no_test_part_of_a_labelled_set(write, labels):
    folder = write("train.parquet", [1, 2], [0, 1], ["cat", "dog"])
    write("test.parquet", [3, 4], labels, ["cat", "dog"])
    assert found(load_data(folder)) == [(1, 0), (2, 1)]
    with pytest.raises(NoTestPart, match="no test part with labels: expected them in the column label"):
        load_data(folder, part="test")
    write("train.parquet", [1, 2], [-1, -1], ["cat", "dog"])
    assert found(load_data(folder, part="test")) == [(3, -1), (4, -1)]  # where training has none either


def test_plain_bytes_and_other_names_of_columns_are_found(write):
    data = load_data(write("train.parquet", [1, 2], ["a", "b"], image="picture", label="labels", plain=True))
    assert (data.classes, found(data)) == (("a", "b"), [(1, 0), (2, 1)])


def test_of_two_columns_of_labels_the_first_is_taken_and_the_other_told(write):
    data = load_data(write("train.parquet", [1], [0], ["cat"], label="fine", more={"coarse": pa.array([0])}))
    assert data.classes == ("cat",)
    assert any("labels from fine; not read: coarse" in note for note in data.notes)


def test_the_form_is_heeded_and_a_row_without_picture_is_named(write):
    folder = write("train.parquet", [1, None, 3], [0, 1, 1], ["cat", "dog"], size=(8, 8))
    with pytest.raises(Refusal, match=r"train\.parquet, row 1 is no picture.*--unreadable skip"):
        load_data(folder)
    data = load_data(folder, form=Form(image_size=(4,), channels=3, unreadable="skip"))
    assert data.images.shape == (2, 4, 4, 3)
    assert found(data) == [(1, 0), (3, 1)]


def test_rows_are_read_some_at_a_time_and_in_their_order(write, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 2)
    monkeypatch.setattr(module, "LABEL_ROWS", 3)
    folder = write("train-0.parquet", range(5), [0, 1, 0, 1, 0], ["cat", "dog"])
    write("train-1.parquet", range(5, 8), [1, 0, 1], ["cat", "dog"])
    assert found(load_data(folder)) == [(number, number % 2) for number in range(8)]


def test_no_more_than_a_few_rows_are_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 2)
    contents = [np.random.default_rng(row).bytes(100_000) for row in range(40)]
    pq.write_table(pa.table({"image": contents}), tmp_path / "large.parquet", row_group_size=2)
    before, held = pa.total_allocated_bytes(), []
    for number, content in enumerate(module._contents(tmp_path / "large.parquet", "image")):
        held.append(pa.total_allocated_bytes() - before)
        assert content == contents[number]
    assert len(held) == 40
    assert max(held) < 1_500_000  # of four million


def test_another_content_is_another_set(write):
    folder = write("train.parquet", [1, 2], [0, 0], ["cat"])
    one = load_data(folder)
    assert load_data(folder).digest == one.digest
    write("train.parquet", [1, 22], [0, 0], ["cat"], size=(4, 2))
    assert found(load_data(folder)) == [(1, 0), (22, 0)]


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 2], ["cat", "dog"], "unknown label 2"),
        ([0, -1], ["cat"], "1 of 2 rows without a label: expected all or none"),
        ([0.5, 1.5], None, r"label 0\.5: expected whole numbers or class names"),
        (["a", None], None, "label None: expected"),
        ([0, 1], ["cat", "a\nb"], "expected a name of 1 to 200 characters that can be printed"),
    ],
)
def test_false_labels_are_refused(write, labels, names, message):
    with pytest.raises(Refusal, match=message):
        load_data(write("train.parquet", [1, 2], labels, names))


def test_files_that_lack_a_column_or_pictures_are_refused(write, tmp_path):
    folder = write("train-0.parquet", [1], [0], ["cat"])
    write("train-1.parquet", [2])
    with pytest.raises(Refusal, match=r"train-1\.parquet with the columns id, image: expected label among them"):
        load_data(folder)
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "words.parquet")
    with pytest.raises(Refusal, match=r"words\.parquet has no column of pictures: found text, expected"):
        load_data(str(tmp_path / "words.parquet"))
    with pytest.raises(Refusal, match="no parquet file at"):
        load_data(str(tmp_path / "absent.parquet"))
    (tmp_path / "set/train-0.parquet").rename(tmp_path / "set/test-0.parquet")
    (tmp_path / "set/train-1.parquet").unlink()
    with pytest.raises(Refusal, match="has no split train: found test"):
        load_data(folder)
    with pytest.raises(Refusal, match="without a row: expected pictures"):
        load_data(write("train.parquet", [], pa.array([], pa.int64()), ["cat"]))


@pytest.mark.parametrize(
    "spoil", [lambda whole: b"", lambda whole: whole[: len(whole) // 2], lambda whole: b"PAR1" * 9]
)
def test_a_damaged_file_is_refused_in_a_line(write, tmp_path, spoil):
    folder = write("train.parquet", [1, 2], [0, 0], ["cat"])
    file = tmp_path / "set/train.parquet"
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(Refusal, match=r"train\.parquet cannot be read") as caught:
        load_data(folder)
    assert "\n" not in str(caught.value)


def test_what_the_datasets_library_says_may_be_anything(write, tmp_path):
    for said in (
        b"{",
        b"[]",
        b'{"info": 3}',
        b'{"info": {"features": {"label": [], "image": {"_type": "Image"}}}}',
        b"\xff",
    ):
        table = pa.table({"image": [{"bytes": png(7)}], "label": ["a"]}, metadata={b"huggingface": said})
        pq.write_table(table, tmp_path / "odd.parquet")
        assert found(load_data(str(tmp_path / "odd.parquet"))) == [(7, 0)]


def test_a_missing_extra_is_named(write, monkeypatch):
    folder = write("train.parquet", [1], [0], ["cat"])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(Refusal, match=r"need the extra 'hub': pip install 'noisette\[hub\]'"):
        load_data(folder)
