import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noisette.base.errors import Refusal
from noisette.data.augment import Augmentation
from noisette.data.batches import Batches
from noisette.data.images import to_model

quick = settings(max_examples=60)


def numbered(count: int, seed: int = 0) -> Batches:
    """Image i has label i, and i as its first pixel (below 256)."""
    images = np.zeros((count, 2, 3, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    return Batches(images, np.arange(count, dtype=np.int64), np.arange(count), seed)


def order(batches: Batches, counts: list[int]) -> list[int]:
    """Which images come, drawn in batches of `counts`."""
    seen, found = 0, []
    for count in counts:
        found += batches.at(seen, count).labels.tolist()
        seen += count
    return found


@quick
@given(st.integers(1, 30), st.integers(0, 2), st.lists(st.integers(1, 70), min_size=1, max_size=6))
def test_the_order_is_the_same_at_any_batch_size(size, seed, counts):
    assert order(numbered(size, seed), counts) == order(numbered(size, seed), [1] * sum(counts))


@quick
@given(st.integers(1, 30), st.integers(0, 100), st.integers(1, 70))
def test_any_process_draws_any_position(size, images_seen, count):
    whole = order(numbered(size), [images_seen + count])
    fresh = numbered(size).at(images_seen, count)
    assert fresh.labels.tolist() == whole[images_seen:]
    assert fresh.position == range(images_seen, images_seen + count)


@quick
@given(st.integers(1, 30), st.integers(0, 3))
def test_every_image_comes_once_an_epoch(size, epoch):
    assert sorted(numbered(size).at(epoch * size, size).labels.tolist()) == list(range(size))


def test_going_back_draws_the_same():
    batches = numbered(10)
    first = batches.at(5, 10).labels.tolist()
    batches.at(40, 10)
    assert batches.at(5, 10).labels.tolist() == first


def test_epochs_and_seeds_differ():
    batches = numbered(50)
    first, second = batches.at(0, 50).labels.tolist(), batches.at(50, 50).labels.tolist()
    assert len({tuple(first), tuple(second), tuple(numbered(50, seed=1).at(0, 50).labels.tolist())}) == 3
    assert first != sorted(first)


def test_images_and_labels_stay_together():
    batch = numbered(200).at(150, 100)
    assert batch.images.shape == (100, 1, 2, 3)
    assert batch.images.dtype == torch.float32
    assert batch.labels.dtype == torch.int64
    first = (batch.images[:, 0, 0, 0] + 1) * 127.5
    np.testing.assert_array_equal(first.round().long().numpy(), batch.labels.numpy())


def test_colour_images_are_scaled_and_channels_last():
    images = np.random.default_rng(0).integers(0, 256, (7, 5, 4, 3), dtype=np.uint8)
    images.setflags(write=False)
    batch = Batches(images, np.arange(7, dtype=np.int64), np.arange(7), seed=3).at(0, 7)
    torch.testing.assert_close(batch.images, to_model(images)[batch.labels], rtol=0, atol=0)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_a_batch_may_be_written_to_without_harm():
    batches = numbered(4)
    batch = batches.at(0, 4)
    before = batch.images.clone()
    batch.images.zero_()
    batch.labels.zero_()
    torch.testing.assert_close(batches.at(0, 4).images, before, rtol=0, atol=0)
    assert sorted(batches.at(0, 4).labels.tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((0, 2, 2, 1), np.uint8), np.zeros(0, np.int64)),
        (np.zeros((3, 2, 2, 1), np.float32), np.zeros(3, np.int64)),
        (np.zeros((3, 2, 2), np.uint8), np.zeros(3, np.int64)),
        (np.zeros((3, 2, 2, 1), np.uint8), np.zeros(4, np.int64)),
        (np.zeros((3, 2, 2, 1), np.uint8), np.zeros(3, np.int32)),
    ],
    ids=["empty", "floats", "no channels", "more labels", "short labels"],
)
def test_arrays_that_do_not_fit_are_refused(images, labels):
    with pytest.raises(Refusal, match="expected"):
        Batches(images, labels, np.arange(3), seed=0)


@pytest.mark.parametrize(
    "rows",
    [np.empty(0, np.int64), np.array([0, 3]), np.array([-1]), np.zeros(2, np.int32), np.zeros((2, 1), np.int64)],
    ids=["none", "past the end", "before the start", "short numbers", "two axes"],
)
def test_rows_that_are_not_in_the_set_are_refused(rows):
    with pytest.raises(Refusal, match=r"rows are .*: expected int64 \[N\] with at least one, each from 0 to 2"):
        Batches(np.zeros((3, 2, 2, 1), np.uint8), np.zeros(3, np.int64), rows, seed=0)


def test_some_rows_of_a_set_come_as_if_they_were_all_of_it():
    images = np.arange(60, dtype=np.uint8).reshape(20, 1, 3, 1)
    labels, rows = np.arange(20, dtype=np.int64), np.array([3, 19, 4, 0, 11])
    some, all_of_it = Batches(images, labels, rows, 7), Batches(images[rows], labels[rows], np.arange(5), 7)
    assert len(some) == 5
    one, other = some.at(2, 11), all_of_it.at(2, 11)
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.labels, other.labels)
    assert set(one.labels.tolist()) == set(rows.tolist())


def test_images_on_the_disk_are_drawn_from_there(tmp_path):
    pixels = np.arange(240, dtype=np.uint8).reshape(20, 2, 2, 3)
    pixels.tofile(tmp_path / "pixels")
    mapped = np.memmap(tmp_path / "pixels", np.uint8, "r", shape=pixels.shape)
    batches = Batches(mapped, np.arange(20), np.arange(20), 7)
    assert batches.images is mapped
    assert torch.equal(batches.at(3, 30).images, Batches(pixels, np.arange(20), np.arange(20), 7).at(3, 30).images)


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_images_on_the_disk_are_not_read_ahead(tmp_path):
    np.zeros((20, 2, 2, 3), np.uint8).tofile(tmp_path / "pixels")
    mapped = np.memmap(tmp_path / "pixels", np.uint8, "r", shape=(20, 2, 2, 3))

    def flags():
        own = Path("/proc/self/smaps").read_text(encoding="ascii").partition(str(tmp_path / "pixels"))[2]
        return own.partition("VmFlags:")[2].partition("\n")[0].split()

    assert "rd" in flags()
    assert "rr" not in flags()  # random read
    Batches(mapped, np.arange(20), np.arange(20), 7)
    assert "rr" in flags()


def test_what_augmentation_does_depends_on_the_position_alone():
    images = np.random.default_rng(0).integers(0, 256, (6, 7, 9, 3), dtype=np.uint8)
    batches = Batches(images, np.arange(6), np.arange(6), 5, Augmentation(flip=True, shift=2, rotate=30))
    whole = batches.at(0, 40).images
    cut = torch.cat([batches.at(first, count).images for first, count in ((0, 1), (1, 2), (3, 16), (19, 21))])
    assert torch.equal(whole, cut)
    assert not torch.equal(whole[batches.at(0, 40).labels == 0][0], whole[batches.at(0, 40).labels == 0][1])


def test_a_shift_past_the_image_is_refused():
    with pytest.raises(Refusal, match="shift 2 for images of 2 x 3: expected fewer pixels than either side has"):
        Batches(np.zeros((3, 2, 3, 1), np.uint8), np.arange(3), np.arange(3), 0, Augmentation(shift=2))


def test_positions_outside_are_refused():
    with pytest.raises(Refusal, match="images_seen -1"):
        numbered(3).at(-1, 2)
    with pytest.raises(Refusal, match="batch of 0"):
        numbered(3).at(0, 0)
