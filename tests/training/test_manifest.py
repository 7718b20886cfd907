"""The newest two checkpoints: what the manifest names is whole, and what is not whole is never gone on from."""

import json
import re
from pathlib import Path

import pytest

from noisette.base.errors import NoisetteError, Refusal
from noisette.base.files import digest_of
from noisette.models.unet import UNetConfig
from noisette.training.checkpoint import read_progress
from noisette.training.manifest import Checkpoints

NETWORK = UNetConfig(widths=(4,), blocks=1, patch=2, embedding=8)


@pytest.fixture
def state(lesson):
    return lesson(NETWORK).state


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def save(checkpoints, state, *seen: int) -> None:
    for images in seen:
        state.progress.images_seen = images
        checkpoints.save(state)


@pytest.fixture
def three(state, tmp_path):
    """A folder in which three states were saved, at 16, 32 and 48 images."""
    save(Checkpoints(tmp_path / "c"), state, 16, 32, 48)
    return tmp_path / "c"


def test_the_newest_two_are_kept_and_vouched_for(three):
    record = json.loads((three / "manifest.json").read_text())
    assert [each["file"] for each in record["checkpoints"]] == ["000000048.safetensors", "000000032.safetensors"]
    for each in record["checkpoints"]:
        assert (each["size"], each["sha256"]) == (
            (three / each["file"]).stat().st_size,
            digest_of(three / each["file"]),
        )
    assert names(three) == ["000000032.safetensors", "000000048.safetensors", "manifest.json"]
    found = Checkpoints(three)
    assert found.newest == three / "000000048.safetensors"
    assert read_progress(found.newest).images_seen == 48
    assert found.damage is None


def test_a_folder_without_any_and_none_at_all_have_no_newest(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "missing"):
        assert Checkpoints(tmp_path / name).newest is None
    assert names(tmp_path) == ["empty"]


def test_a_validation_makes_another_state_and_nothing_the_same(state, tmp_path):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, state, 16, 16)
    state.progress.validated_at = 16
    save(checkpoints, state, 16)
    both = ["000000016-validated.safetensors", "000000016.safetensors"]
    assert names(tmp_path) == [*both, "manifest.json"]
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in names(tmp_path)}
    save(checkpoints, state, 16)
    save(Checkpoints(tmp_path), state, 16)
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in names(tmp_path)} == before
    assert Checkpoints(tmp_path).newest == tmp_path / both[0]


DAMAGES = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-1]), r"is [\d,]+ bytes, not [\d,]+"),
    "empty": (lambda path: path.write_bytes(b""), "is 0 bytes, not"),
    "a byte changed": (
        lambda path: path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1])),
        "has another SHA-256",
    ),
    "missing": (lambda path: path.unlink(), "cannot be read .No such file"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "is [0-9,]+ bytes|cannot be read"),
}


@pytest.mark.parametrize(("damage", "told"), DAMAGES.values(), ids=DAMAGES)
def test_the_one_before_is_used_when_the_newest_is_damaged_and_it_is_said(three, damage, told):
    damage(three / "000000048.safetensors")
    found = Checkpoints(three)
    assert found.newest == three / "000000032.safetensors"
    assert re.match(rf"000000048\.safetensors ({told})", str(found.damage))


def test_what_was_damaged_is_not_kept_when_the_run_goes_on(three, state):
    (three / "000000048.safetensors").write_bytes(b"")
    found = Checkpoints(three)
    save(found, state, 64)
    assert names(three) == ["000000032.safetensors", "000000064.safetensors", "manifest.json"]
    assert Checkpoints(three).damage is None


def test_when_none_is_whole_it_is_said_what_to_do(three):
    (three / "000000048.safetensors").write_bytes(b"")
    (three / "000000032.safetensors").unlink()
    with pytest.raises(Refusal, match=r"no checkpoint in .* is whole: 0+48.*; 0+32.*: put it back .*, or remove") as e:
        Checkpoints(three)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", r"manifest\.json is not a manifest: "),
        ("[]", r"manifest\.json is not a manifest: "),
        ('{"format": "other", "checkpoints": []}', "format 'other': expected 'noisette-checkpoints-1'"),
        ('{"format": "noisette-checkpoints-1", "checkpoints": []}', "no checkpoint"),
        ('{"format": "noisette-checkpoints-1", "checkpoints": [{"file": "a"}]}', "missing sha256, size"),
        (
            '{"format": "noisette-checkpoints-1", "checkpoints": [{"file": "../a", "size": 1, "sha256": ""}]}',
            r"'\.\./a': expected a checkpoint of this folder",
        ),
    ],
    ids=range(6),
)
def test_what_is_not_a_manifest_is_refused(three, text, told):
    (three / "manifest.json").write_text(text)
    with pytest.raises(Refusal, match=told) as caught:
        Checkpoints(three)
    assert "\n" not in str(caught.value)
    assert "or remove" in str(caught.value)


def test_a_lost_manifest_is_refused_rather_than_begun_anew(three):
    (three / "manifest.json").unlink()
    with pytest.raises(Refusal, match=r"holds checkpoints and no manifest\.json: put it back"):
        Checkpoints(three)


def test_a_first_checkpoint_without_its_manifest_does_not_count(state, tmp_path):
    """As a process leaves it that is killed between the two."""
    save(Checkpoints(tmp_path), state, 16)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / ".unfinished-manifest-x.json").write_text("{")
    found = Checkpoints(tmp_path)
    assert found.newest is None
    found.tidy()
    assert names(tmp_path) == []


def test_the_manifest_is_written_last_and_what_is_older_removed_only_then(state, three, monkeypatch):
    """Whatever cannot be written or removed, the folder still has a whole checkpoint."""
    whole, replace = (three / "manifest.json").read_bytes(), Path.replace
    for fails in ("000000064", "manifest"):

        def failing(self, target, fails=fails):
            if fails in target.name:
                raise OSError(28, "No space left on device")
            return replace(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", failing)
            checkpoints = Checkpoints(three)
            with pytest.raises(NoisetteError, match="No space left on device"):
                save(checkpoints, state, 64)
        assert checkpoints.newest == three / "000000048.safetensors"
        assert (three / "manifest.json").read_bytes() == whole
        found = Checkpoints(three)
        assert (found.newest, found.damage) == (three / "000000048.safetensors", None)
        assert (three / "000000032.safetensors").exists()
        found.tidy()
        assert names(three) == ["000000032.safetensors", "000000048.safetensors", "manifest.json"]


def test_a_save_of_another_process_is_noticed(three, state):
    one, other = Checkpoints(three), Checkpoints(three)
    assert one.unchanged()
    save(other, state, 64)
    assert other.unchanged()
    assert not one.unchanged()
