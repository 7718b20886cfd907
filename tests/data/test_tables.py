"""A CSV of paths and labels."""

import re

import pytest
from PIL import Image

from noisette.base.errors import Refusal
from noisette.data.datasets import load_data
from noisette.data.form import Form
from noisette.data.images import NoTestPart


@pytest.fixture
def write(tmp_path):
    """Write the table beside pictures 1.png to 4.png, whose grey is their number."""
    (tmp_path / "in").mkdir()
    for number in range(1, 5):
        Image.new("L", (3, 3), number).save(tmp_path / "in" / f"{number}.png")

    def text(content, encoding="utf-8"):
        (tmp_path / "table.csv").write_bytes(content.encode(encoding))
        return str(tmp_path / "table.csv")

    return text


def found(data):
    return list(zip(data.images[:, 0, 0, 0].tolist(), data.labels.tolist(), strict=True))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_paths_are_relative_to_the_table_and_labels_are_names(write, tmp_path, encoding):
    lines = ["path,label", "in/3.png,b 10", '"in/1.png","tench, Tinca"', "", f"{tmp_path / 'in' / '2.png'},b 2"]
    data = load_data(write("\r\n".join(lines), encoding))
    assert data.classes == ("b 2", "b 10", "tench, Tinca")
    assert found(data) == [(3, 1), (1, 2), (2, 0)]


def test_the_columns_may_stand_in_any_order_among_others(write):
    data = load_data(write("id,label,path\n7,a,in/1.png\n8,b,in/2.png\n"))
    assert (data.classes, found(data)) == (("a", "b"), [(1, 0), (2, 1)])


def test_without_labels_pictures_are_of_no_class(write):
    data = load_data(write("path\nin/1.png\nin/4.png\n"))
    assert (data.classes, found(data)) == ((), [(1, -1), (4, -1)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no header: expected path,label"),
        ("path,label\n", "lists no pictures"),
        ("path,lable\nin/1.png,a\n", "unknown column 'lable'.*did you mean 'label'"),
        ("path;label\nin/1.png;a\n", "unknown column 'path;label'"),
        ("in/1.png,a\n", "unknown column 'in/1.png'"),
        ("label\na\n", "has no header"),
        ("path,label\nin/1.png\n", "line 2: expected path,label, found in/1.png"),
        ("path,label\nin/1.png,a,b\n", "line 2: expected path,label, found in/1.png,a,b"),
        ("path,label\nin/1.png,a\n,b\n", "line 3: expected path,label, found ,b"),
        ("path,label\nin/1.png,\n", "line 2: class ''"),
        ('path,label\nin/1.png,"a\nb"\n', r"line 3: class 'a\\nb'"),
        ('path,label\n"in/1.png,a\n', "is not a readable CSV file"),
        ("path,label\n" + "x" * 200_000 + ",a\n", "is not a readable CSV file: field larger"),
        ("path,label\nin/9.png,a\n", "in/9.png: no file is there"),
        ("path,label\nin,a\n", "no file is there"),
        ("path,label\nin/1.png\0,a\n", "no file is there|cannot be read|not a readable CSV"),
    ],
)
def test_other_tables_are_refused(write, content, message):
    name = write(content)
    with pytest.raises(Refusal, match=message) as refused:
        load_data(name)
    assert str(refused.value).startswith(re.sub("table.csv$", "", name))


def test_what_is_no_text_is_refused(write, tmp_path):
    (tmp_path / "table.csv").write_bytes(b"path,label\n\xff\xfe,a\n")
    with pytest.raises(Refusal, match="is not a readable CSV file"):
        load_data(str(tmp_path / "table.csv"))
    with pytest.raises(Refusal, match="no CSV file at"):
        load_data(str(tmp_path / "absent.csv"))


def test_missing_pictures_may_be_skipped(write):
    data = load_data(write("path,label\nin/9.png,a\nin/1.png,b\n"), form=Form(unreadable="skip"))
    assert found(data) == [(1, 1)]
    assert "1 of 2 pictures cannot be read and are skipped" in data.warnings[0]


def test_a_table_has_no_test_part(write):
    with pytest.raises(NoTestPart):
        load_data(write("path\nin/1.png\n"), part="test")
