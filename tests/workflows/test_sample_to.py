"""Images drawn to files: what was asked for, the same picture however it is drawn, and nothing half done."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from noisette.base.errors import NoisetteError, Refusal
from noisette.data.images import to_uint8
from noisette.diffusion.noise import LevelRange, unit_variance
from noisette.report.pictures import film_moments
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.model import Model
from noisette.workflows.sample import sample_to
from noisette.workflows.sample_files import picture_name
from noisette.workflows.sample_request import SampleRequest

LABELS = (7, 7, "3", "none", 0, "9", 1)


@pytest.fixture
def model(tiny_model):
    return Model("tiny", tiny_model(), torch.device("cpu"))


@pytest.fixture
def noisy_model(tiny_model):
    """Its last step falls from 0.5 to 0: no two frames of its films are alike, for encoders merge those."""
    file = tiny_model()
    diffusion = dataclasses.replace(file.spec.diffusion, levels=LevelRange(noise_level_min=0.5))
    spec = dataclasses.replace(file.spec, diffusion=diffusion)
    return Model("tiny", dataclasses.replace(file, spec=spec), torch.device("cpu"))


def draw(model, out, sampling=None, **request):
    """The arrays that a request with an .npz writes."""
    sample_to(model, SampleRequest(sampling or model.sampling, out=out / "images.npz", **request))
    with np.load(out / "images.npz") as arrays:
        return dict(arrays)


def test_arrays_hold_what_was_asked_for(model, tmp_path):
    found = draw(model, tmp_path, labels=LABELS, seed=5)
    assert found["images"].shape == (7, 8, 10, 1)
    assert found["images"].dtype == np.uint8
    assert found["labels"].dtype == found["index"].dtype == np.int64
    assert found["labels"].tolist() == [7, 7, 3, -1, 0, 9, 1]
    assert found["index"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert found["seed"].shape == ()
    assert found["seed"] == 5
    images = model.sample([7, 7, 3, -1, 0, 9, 1], seed=5)  # the other way to draw
    np.testing.assert_allclose(found["images"][..., 0], ((images[:, 0] + 1) * 127.5).numpy(), atol=1)


def test_each_image_is_its_own(model, tmp_path):
    images = draw(model, tmp_path, labels=("7",) * 5)["images"].astype(int)
    other_seed = draw(model, tmp_path, labels=("7",) * 5, seed=1)["images"].astype(int)
    other_class = draw(model, tmp_path, labels=("3",) * 5)["images"].astype(int)
    for number in range(5):
        for other in (images[number - 1], other_seed[number], other_class[number]):
            assert np.abs(images[number] - other).max() > 3


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_an_image_is_the_same_picture_at_any_batch_size(model, tmp_path, monkeypatch, batch):
    """With ancestral noise, mixed labels and a guidance interval."""
    sampling = SamplingConfig(sampler="ddpm", steps=8, guidance_scale=2.5, guidance_from=0.3, guidance_to=20.0)
    whole = draw(model, tmp_path, sampling, labels=LABELS)["images"]
    monkeypatch.setattr("noisette.workflows.model.BATCH", batch)
    cut = draw(model, tmp_path, sampling, labels=LABELS)["images"]
    assert np.abs(whole.astype(int) - cut).max() <= 1


def test_index_draws_some_images_again(model, tmp_path):
    sampling = dataclasses.replace(model.sampling, sampler="ddim", eta=0.7)
    whole = draw(model, tmp_path, sampling, per_class=2)
    some = draw(model, tmp_path, sampling, per_class=2, index=(17, 3))
    assert some["index"].tolist() == [17, 3]
    assert some["labels"].tolist() == [7, 3]
    assert np.abs(whole["images"][[17, 3]].astype(int) - some["images"]).max() <= 1


def test_the_list_of_labels(model):
    def labels(**asked):
        images = SampleRequest(model.sampling, **asked).asked(model)
        return images.labels(images.index)

    assert labels(per_class=2) == [*range(10), *range(10)]
    assert labels(count=3) == [-1, -1, -1]
    assert labels(labels=(4, "4", "none", -1)) == [4, 4, -1, -1]


def test_a_grid_has_a_column_a_class(model, tmp_path):
    sampled = sample_to(model, SampleRequest(model.sampling, per_class=3, out=tmp_path / "a.PNG"))
    assert sampled.images == 30
    with Image.open(tmp_path / "a.PNG") as picture:
        width, height = picture.size
    zoom = width / (10 * (10 + 2) + 2)  # 10 columns of 10 pixels, 2 between
    assert zoom == int(zoom)
    assert height == zoom * (3 * (8 + 2) + 2)


def test_a_folder_of_pictures(model, tmp_path):
    out = tmp_path / "new" / "folder"
    sample_to(model, SampleRequest(model.sampling, labels=(7, "none"), out=out))
    assert sorted(path.name for path in out.iterdir()) == ["000000-7.png", "000001-none.png", "samples.json"]
    arrays = draw(model, tmp_path, labels=(7, "none"))
    with Image.open(out / "000000-7.png") as picture:
        assert np.array_equal(np.asarray(picture), arrays["images"][0, ..., 0])


HOSTILE = (
    "../../up",
    "a/b",
    "c\\d",
    "..",
    "/etc/x",
    "con",
    "naïve é",
    "x" * 200,
    "[red]",
    "a. ",
    "a:b",
    "-",
    "𝒳" * 200,
)


def test_no_class_name_leads_out_of_the_folder(tiny_model, tmp_path):
    model = Model("tiny", tiny_model(classes=HOSTILE), torch.device("cpu"))
    sample_to(model, SampleRequest(model.sampling, per_class=1, out=tmp_path / "in"))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    names = sorted(path.name for path in (tmp_path / "in").glob("*.png"))
    assert len(names) == len(HOSTILE)
    assert names == [picture_name(number, number, HOSTILE) for number in range(len(HOSTILE))]
    assert all(len(name.encode()) < 256 and not set(name) & set('/\\:*?"<>|\t') for name in names)
    assert "000006-naïve_é.png" in names


@pytest.mark.parametrize("name", ["", "x" * 201, "tab\there", "a\nb", "\0", "\x1b[31m", "\ud800", "\u2028"])
def test_a_class_that_cannot_be_printed_is_refused(tiny_model, name):
    with pytest.raises(Refusal, match="expected a name of 1 to 200 characters that can be printed"):
        tiny_model(classes=("left", name))


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".gif", "GIF"), (".png", "PNG"), (".apng", "PNG"), (".webp", "WEBP"), (".GIF", "GIF")]
)
def test_a_film_shows_noise_beside_the_estimate(noisy_model, tmp_path, suffix, kind):
    film = tmp_path / f"film{suffix}"
    sampling = dataclasses.replace(noisy_model.sampling, steps=7)
    sample_to(noisy_model, SampleRequest(sampling, per_class=2, out=tmp_path / "grid.png", film=film))
    with Image.open(film) as picture:
        assert picture.format == kind
        assert picture.n_frames == len(film_moments(7)) == 7
        first, last = (np.asarray(_seek(picture, n).convert("L"), dtype=int) for n in (0, 6))
    width = first.shape[1] // 2
    between, at_last = (np.abs(frame[:, :width] - frame[:, width:]).mean() for frame in (first, last))
    assert between > 10  # noisy beside the estimate
    assert at_last < between / 5  # at level 0 both are the sample, up to what WebP loses


def test_noisy_images_are_filmed_at_unit_variance(noisy_model, tmp_path):
    request = SampleRequest(noisy_model.sampling, count=4, out=tmp_path / "a.npz", film=tmp_path / "f.apng")
    sample_to(noisy_model, request)
    snapshot = next(noisy_model.snapshots([-1] * 4))
    noisy, denoised = to_uint8(unit_variance(snapshot.noisy, snapshot.noise_level)), to_uint8(snapshot.denoised)
    with Image.open(tmp_path / "f.apng") as film:
        first = np.asarray(film)
    zoom = first.shape[1] // (2 * (2 * (10 + 2) + 2))  # two grids of two columns of 10 pixels, 2 between
    small, right = first[::zoom, ::zoom], 2 * (10 + 2) + 2
    assert np.array_equal(small[2:10, 2:12], noisy[0, ..., 0])
    assert np.array_equal(small[12:20, 14:24], noisy[3, ..., 0])
    assert np.array_equal(small[12:20, right + 14 : right + 24], denoised[3, ..., 0])


def _seek(picture, frame):
    picture.seek(frame)
    return picture


def test_a_long_film_has_60_frames_of_the_first_100_images(noisy_model, tmp_path, monkeypatch):
    monkeypatch.setattr("noisette.workflows.model.BATCH", 60)  # the 100 end inside a batch
    films = []
    for count in (100, 130):
        sampling = dataclasses.replace(noisy_model.sampling, steps=70)
        request = SampleRequest(sampling, count=count, out=tmp_path / "a.npz", film=tmp_path / "f.gif")
        sample_to(noisy_model, request)
        with Image.open(tmp_path / "f.gif") as film:
            assert film.n_frames == 60
            films.append(np.asarray(_seek(film, 59).convert("L"), dtype=int))
    assert films[0].shape == films[1].shape
    assert np.abs(films[0] - films[1]).max() < 8


def test_colour_images(tiny_model, tmp_path):
    model = Model("tiny", tiny_model(size=(3, 8, 8)), torch.device("cpu"))
    request = SampleRequest(model.sampling, per_class=1, out=tmp_path / "a.png", film=tmp_path / "f.gif")
    sample_to(model, request)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "RGB"


@pytest.mark.parametrize(
    ("sampling", "evaluations"),
    [
        ({"sampler": "euler", "steps": 5}, 5),
        ({"sampler": "heun", "steps": 5}, 9),
        ({"sampler": "euler", "steps": 5, "guidance_scale": 2.0}, 10),
        ({"sampler": "euler", "steps": 5, "guidance_scale": 0.0}, 5),
        ({"sampler": "euler", "steps": 5, "guidance_scale": 2.0, "guidance_from": 10.0}, 7),  # at 80 and 17.5
    ],
)
def test_evaluations_are_what_the_network_saw(model, tmp_path, sampling, evaluations):
    request = SampleRequest(SamplingConfig(**sampling), count=130, out=tmp_path / "a.npz")
    assert sample_to(model, request).evaluations == evaluations
    assert not model.file.network._forward_hooks  # and is not watched any longer


def test_progress_grows_to_the_end(model, tmp_path):
    told = []
    request = SampleRequest(model.sampling, count=130, out=tmp_path / "a.npz")
    sample_to(model, request, lambda done, images: told.append((done, images)))
    assert told == sorted(told)
    assert len(told) == 8  # four steps in two batches
    assert (told[0], told[-1]) == ((25.0, 130), (130.0, 130))


REFUSED = {
    "nothing asked": ({}, "nothing to draw: expected one of labels, per-class and count"),
    "two things asked": ({"count": 3, "per_class": 1}, "per-class and count: expected one of"),
    "unknown label": ({"labels": ("7", "seven")}, "unknown label 'seven'"),
    "label too large": ({"labels": (10,)}, "unknown label '10'"),
    "count 0": ({"count": 0}, "count 0: expected at least 1"),
    "index too large": ({"count": 3, "index": (0, 3)}, "index 3: expected 0 to 2"),
    "negative index": ({"count": 3, "index": (-1,)}, "index -1: expected 0 to 2"),
    "index twice": ({"count": 3, "index": (1, 1)}, "an index given twice"),
    "seed too large": ({"count": 3, "seed": 2**63}, "expected a number of at most 63 bits"),
    "other suffix": ({"count": 3, "out": "a.jpg"}, "output '.*a.jpg': expected .png, .npz or a folder"),
    "other film": ({"count": 3, "film": "a.mp4"}, "unknown film format '.mp4'"),
    "one file for both": ({"count": 3, "out": "a.png", "film": "a.png"}, "expected two files"),
    "folder that is a file": ({"count": 3, "out": "file"}, "file is a file"),
    "folder that is not empty": ({"count": 3, "out": "full"}, "is not empty"),
    "more than fits into one file": ({"count": 10**7, "out": "a.npz"}, r"a\.npz would take 2\.2 GiB .* or a folder"),
    "files of a grid": ({"count": 3, "files": "npz"}, "files npz for .*new.png: expected a folder"),
    "grid where a folder is": ({"count": 3, "out": "a.png", "film": "folder.gif"}, "found a folder there"),
    "below a file": ({"count": 3, "out": "file/a.png"}, "cannot write"),
    "folder below a file": ({"count": 3, "out": "file/a"}, "cannot write"),
    "film below a file": ({"count": 3, "film": "file/a.gif"}, "cannot write"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_requests_are_refused_before_drawing(model, tmp_path, monkeypatch, case):
    monkeypatch.setattr(type(model.file.network), "forward", lambda *_: pytest.fail("the network was called"))
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "old.png").write_text("")
    (tmp_path / "folder.gif").mkdir()
    before = sorted(tmp_path.rglob("*"))
    asked, message = REFUSED[case]
    places = {name: tmp_path / asked[name] for name in ("out", "film") if name in asked}
    with pytest.raises(Refusal, match=message):
        sample_to(model, SampleRequest(model.sampling, **{"out": tmp_path / "new.png"} | asked | places))
    assert sorted(tmp_path.rglob("*")) == before


def test_more_steps_than_the_table_has_are_refused(tiny_model, tmp_path):
    file = tiny_model()
    diffusion = dataclasses.replace(file.spec.diffusion, schedule="linear", table_steps=5, training_levels="table")
    spec = dataclasses.replace(file.spec, diffusion=diffusion)
    model = Model("chain", dataclasses.replace(file, spec=spec), torch.device("cpu"))
    with pytest.raises(Refusal, match="6 sampling steps: expected 1 to 5"):
        sample_to(model, SampleRequest(SamplingConfig("ddpm", steps=6), count=2, out=tmp_path / "new" / "a.png"))
    assert not list(tmp_path.iterdir())


def test_a_model_without_classes(tiny_model, tmp_path):
    model = Model("tiny", tiny_model(classes=()), torch.device("cpu"))
    with pytest.raises(Refusal, match="a model without classes: expected count"):
        sample_to(model, SampleRequest(model.sampling, per_class=1, out=tmp_path / "a.png"))
    assert sample_to(model, SampleRequest(model.sampling, count=5, out=tmp_path / "a.png")).images == 5


def test_a_diverged_model_leaves_no_file(model, tmp_path):
    model.file.network.output.bias.fill_(float("nan"))
    with pytest.raises(NoisetteError, match="not numbers"):
        sample_to(model, SampleRequest(model.sampling, count=2, out=tmp_path / "new" / "a.png"))
    assert not list(tmp_path.iterdir())
