"""Folders of pictures: classes, parts, and that nothing disappears without a word."""

import errno
import os
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from noisette.base.errors import Refusal
from noisette.base.shapes import NO_CLASS
from noisette.data import picture_sets
from noisette.data.datasets import load_data
from noisette.data.form import AS_IT_IS, Form
from noisette.data.images import NoTestPart


@pytest.fixture
def draw(tmp_path):
    """Write a picture of one grey below the folder; returns its path."""

    def write(name, grey=0, size=(4, 4), mode="L"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, grey if mode == "L" else (grey,) * len(mode)).save(path)
        return path

    return write


@pytest.fixture
def load(tmp_path):
    return lambda part="train", form=AS_IT_IS: load_data(str(tmp_path / "set"), None, part, form)


def greys(data):
    """The grey of each image, by class name."""
    names = [data.classes[label] if label >= 0 else None for label in data.labels]
    return sorted(zip(names, data.images[:, 0, 0, 0].tolist(), strict=True))


def test_a_sub_folder_is_a_class(draw, load, tmp_path):
    for name, grey in (("b 10/x.png", 1), ("b 2/y.PNG", 2), ("b 2/deep/er/z.jpg", 3), ("\u00fc,\u2215../q.bmp", 4)):
        draw(name, grey)
    data = load()
    assert data.classes == ("b 2", "b 10", "\u00fc,\u2215..")
    assert greys(data) == [("b 10", 1), ("b 2", 2), ("b 2", 3), ("\u00fc,\u2215..", 4)]
    assert (data.images.dtype, data.images.shape, data.labels.dtype) == (np.uint8, (4, 4, 4, 1), np.int64)
    assert data.name == str(tmp_path / "set")
    assert data.warnings == ()
    assert data.notes == ("4 images of 4 x 4, left at that size", "grey; stored in grey: all")


def test_pictures_alone_are_of_no_class(draw, load):
    draw("a.png", 1)
    draw("b.png", 2)
    data = load()
    assert data.classes == ()
    assert data.labels.tolist() == [NO_CLASS, NO_CLASS]


def test_pictures_beside_classes_are_refused(draw, load):
    draw("a/a.png")
    draw("stray.png")
    with pytest.raises(Refusal, match=r"holds pictures \(stray.png\) beside sub-folders with pictures \(a\)"):
        load()


def test_what_is_no_picture_is_counted_and_what_is_hidden_is_not(draw, load, tmp_path):
    draw("a/a.png")
    draw(".hidden/b.png", 9)
    draw("a/.b.png", 9)
    for name in ("a/notes.txt", "a/more.txt", "README", ".DS_Store"):
        (tmp_path / "set" / name).write_text("no picture")
    (tmp_path / "set" / "empty").mkdir()
    data = load()
    assert greys(data) == [("a", 0)]
    assert data.notes[-1] == "not read, since no pictures by their names: .txt (2), without a suffix (1)"
    assert data.warnings == ("sub-folders without a picture, which are no classes: empty",)


@pytest.mark.parametrize("test", ["test", "val", "Validation"])
def test_train_and_test_are_the_parts(draw, load, test):
    draw("train/a/1.png", 1)
    draw("train/b/2.png", 2)
    draw(f"{test}/b/3.png", 3)
    draw("more/b/4.png", 4)
    assert greys(load()) == [("a", 1), ("b", 2)]
    assert greys(load("test")) == [("b", 3)]
    assert load("test").classes == ("a", "b")
    assert load().warnings == (f"folders beside train and {test} that are not read: more",)


def test_a_class_may_be_called_train(draw, load):
    for name in ("car", "train", "plane"):
        draw(f"{name}/1.png")
    assert load().classes == ("car", "plane", "train")
    with pytest.raises(NoTestPart, match="no test part"):
        load("test")


def test_a_class_that_training_does_not_have_is_refused(draw, load):
    draw("train/cats/1.png", 1)
    draw("test/cat/3.png", 3)
    with pytest.raises(Refusal, match=r"unknown class 'cat'.*did you mean 'cats'.*of the training part"):
        load("test")


def test_pictures_without_classes_are_no_test_part_of_classes(draw, load, tmp_path):
    cat = draw("train/cat/1.png", 1)
    dog = draw("train/dog/2.png", 2)
    draw("test/3.png", 3)
    assert greys(load()) == [("cat", 1), ("dog", 2)]
    with pytest.raises(NoTestPart, match=r"no test part with classes: .*test holds pictures alone"):
        load("test")
    for path in (cat, dog):
        path.rename(tmp_path / "set/train" / path.name)
    assert greys(load("test")) == [(None, 3)]  # where training has none either


@pytest.mark.parametrize("name", ["nothing here", "text"])
def test_a_folder_without_pictures_is_refused(load, tmp_path, name):
    (tmp_path / "set").mkdir()
    if name == "text":
        (tmp_path / "set" / "a.txt").write_text("")
    with pytest.raises(Refusal, match=r"holds no pictures by their names: found (nothing|\.txt \(1\))"):
        load()


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither such links nor pipes")
def test_links_in_circles_and_pipes_end(draw, load, tmp_path):
    draw("a/a.png", 5)
    (tmp_path / "set" / "a" / "circle").symlink_to(tmp_path / "set")
    (tmp_path / "linked").mkdir()
    Image.new("L", (4, 4), 6).save(tmp_path / "linked" / "b.png")
    (tmp_path / "set" / "b").symlink_to(tmp_path / "linked")
    os.mkfifo(tmp_path / "set" / "a" / "pipe.png")
    data = load(form=Form(unreadable="skip"))
    assert greys(data) == [("a", 5), ("b", 6)]
    assert "pipe.png: no file is there" in data.warnings[0]
    assert data.notes[-1] == "not read, since no pictures by their names: without a suffix (1)"  # the circle


# Unreadable pictures, and the cache ---------------------------------------------------------------


@pytest.fixture
def broken(draw, tmp_path):
    """Four sound pictures, one that is none, and one that is cut short within its pixels."""
    for number in range(4):
        draw(f"a/{number}.png", number)
    (tmp_path / "set/a/none.png").write_text("no picture")
    random = np.random.default_rng(0).integers(0, 256, (4, 4), dtype=np.uint8)
    Image.fromarray(random).save(tmp_path / "set/a/short.png")
    content = (tmp_path / "set/a/short.png").read_bytes()
    (tmp_path / "set/a/short.png").write_bytes(content[:45])


def test_an_unreadable_picture_is_refused_by_name(broken, load, tmp_path):
    with pytest.raises(
        Refusal, match=r"a/none.png is no picture that can be read.*; --unreadable skip goes on without"
    ):
        load()
    (tmp_path / "set/a/none.png").unlink()
    for _ in range(2):  # what could not be decoded leaves nothing in the cache
        with pytest.raises(Refusal, match=r"a/short.png cannot be read: .*--unreadable skip"):
            load()


def test_unreadable_pictures_may_be_skipped_but_are_told_of_every_time(broken, load, monkeypatch):
    first = load(form=Form(unreadable="skip"))
    monkeypatch.setattr(picture_sets, "read_picture", lambda *_: pytest.fail("decoded again"))
    monkeypatch.setattr(picture_sets, "read_header", lambda *_: pytest.fail("looked at again"))
    for data in (first, load(form=Form(unreadable="skip"))):
        assert greys(data) == [("a", number) for number in range(4)]
        (warning,) = data.warnings
        assert warning.startswith("2 of 6 pictures cannot be read and are skipped: ")
        assert "a/none.png is no picture" in warning
        assert "a/short.png cannot be read" in warning


SKIP = Form(unreadable="skip")


@pytest.mark.parametrize(
    ("failing", "before", "after"),
    [
        ("1", AS_IT_IS, AS_IT_IS),
        ("1", AS_IT_IS, SKIP),
        ("1", SKIP, AS_IT_IS),
        ("1", SKIP, Form((2,), unreadable="skip")),
        ("12", SKIP, SKIP),
    ],
)
def test_a_picture_that_could_not_be_read_for_a_while_is_read(draw, load, monkeypatch, failing, before, after):
    """Its size and its time are what they were."""
    opened, failed = Image.open, []

    def fail(file, *how, **more):
        if file.stem in failing:
            failed.append(file)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(file, *how, **more)

    draw("a/1.png", 1)
    draw("a/2.png", 2)
    with monkeypatch.context() as patched, suppress(Refusal):
        patched.setattr(Image, "open", fail)
        load(form=before)
    assert failed
    data = load(form=after)
    assert greys(data) == [("a", 1), ("a", 2)]
    assert data.warnings == ()


def test_of_many_unreadable_pictures_the_first_are_named(draw, load, tmp_path):
    draw("a/sound.png")
    for number in range(8):
        (tmp_path / f"set/a/{number}.png").write_text("no picture")
    with pytest.raises(Refusal, match=r"a/0.png is .*, and 7 more of 9 pictures; --unreadable"):
        load()
    (warning,) = load(form=Form(unreadable="skip")).warnings
    assert warning.startswith("8 of 9 pictures")
    assert warning.count("is no picture") == 5
    assert warning.endswith(", and 3 more")
    (tmp_path / "set/a/sound.png").unlink()
    with pytest.raises(Refusal, match="none of 8 pictures can be read: "):
        load(form=Form(unreadable="skip"))


def test_a_changed_picture_is_read_anew(draw, load):
    path = draw("a/1.png", 1)
    draw("a/2.png", 2)
    assert greys(load()) == [("a", 1), ("a", 2)]
    draw("a/1.png", 7)
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1_000_000_000))
    assert greys(load()) == [("a", 2), ("a", 7)]
    path.rename(path.with_name("0.png"))
    assert greys(load()) == [("a", 2), ("a", 7)]
    assert [int(grey) for grey in load().images[:, 0, 0, 0]] == [7, 2]


def test_each_form_is_kept_by_itself(draw, load):
    draw("a/1.png", 1)
    assert load().images.shape == (1, 4, 4, 1)
    assert load(form=Form((2,))).images.shape == (1, 2, 2, 1)
    assert load(form=Form((2,), 3)).images.shape == (1, 2, 2, 3)
    assert load().images.shape == (1, 4, 4, 1)


def test_sizes_that_differ_are_refused_before_anything_is_decoded(draw, load, monkeypatch):
    draw("a/1.png", size=(4, 5))
    draw("a/2.png", size=(6, 6))
    monkeypatch.setattr(picture_sets, "read_picture", lambda *_: pytest.fail("decoded"))
    with pytest.raises(Refusal, match=r"images of 2 sizes, 5 x 4 \(1\), 6 x 6 \(1\): expected one, or --image-size"):
        load()


def test_many_pictures_come_in_pieces(draw, load, monkeypatch):
    for number in range(7):
        draw(f"a/{number}.png", number)
    monkeypatch.setattr(picture_sets, "AT_A_TIME", 3 * 16)
    assert greys(load()) == [("a", number) for number in range(7)]


def test_progress_is_told(draw, tmp_path):
    for number in range(3):
        draw(f"a/{number}.png", number)
    said = []
    load_data(str(tmp_path / "set"), progress=lambda *told: said.append(told))
    assert said == [("looking at the pictures", 0, 3), ("decoding the pictures", 0, 3)]
