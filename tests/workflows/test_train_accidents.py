"""What may happen to a run: each is one line, and the same call goes on to the same bits."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import noisette
import noisette.workflows.train as module
from noisette.base.errors import NoisetteError, Refusal
from noisette.base.lock import locked
from noisette.cli import main
from noisette.cli.progress import plan_lines
from noisette.data.datasets import load_data
from noisette.data.images import ImageData
from noisette.diffusion.objective import DiffusionConfig
from noisette.models.unet import UNetConfig
from noisette.training.config import TrainingConfig
from noisette.training.log import read_log
from noisette.training.loop import Finished, Stepped, Validated
from noisette.training.manifest import Checkpoints
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.recipes import DataConfig, RunConfig, to_toml
from noisette.workflows.train import Run

CONFIG = RunConfig(
    DataConfig("mnist-5k"),
    UNetConfig(widths=(4,), blocks=1, patch=4, embedding=8),
    DiffusionConfig(),
    TrainingConfig(images=64, batch_size=16, validate_every=16, validation_images=10, warmup_images=0),
    SamplingConfig(steps=2),
)
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such limits, and removes no folder that is in use")


@pytest.fixture(autouse=True, scope="module")
def small():
    """Few pictures in a grid, few images to look at before training."""
    data = load_data("mnist-5k")
    few = ImageData(data.name, data.images[::20], data.labels[::20], data.classes, data.source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PREVIEW_IMAGES", 10)
        patch.setattr(module, "load_data", lambda *_: few)
        yield


def prepared(out: Path, **more: Any) -> Run:
    return Run(CONFIG, out, device="cpu", **more)


def finish(out: Path) -> Run:
    run = prepared(out)
    assert isinstance(list(run.events())[-1], Finished)
    return run


@pytest.fixture(scope="module")
def unbroken(small, tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken") / "run"
    finish(out)
    return out


def told(out: Path) -> dict[str, Any]:
    """All that a run leaves but for seconds."""
    found: dict[str, Any] = {str(path.relative_to(out)): None for path in out.rglob("*")}
    found["log"] = [{k: v for k, v in r.items() if k != "seconds"} for r in read_log(out / "metrics.jsonl")]
    found |= {path.name: path.read_bytes() for path in (out / "samples").iterdir()}
    for path in out.rglob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            found |= {f"{path.name} {name}": file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return found


def assert_same(one: Path, two: Path) -> None:
    left, right = told(one), told(two)
    assert left.keys() == right.keys()
    for name, value in left.items():
        same = torch.equal(value, right[name]) if isinstance(value, torch.Tensor) else value == right[name]
        assert same, name


def until(events: Iterator[Any], kind: type, images: int) -> None:
    """Go on until this event."""
    for event in events:
        if isinstance(event, kind) and event.images_seen == images:
            return
    raise AssertionError(f"no {kind} at {images}")


def fails(events: Iterator[Any], message: str) -> None:
    """The next event cannot be had, in one line, and that is no refusal."""
    with pytest.raises(NoisetteError, match=message) as caught:
        next(events)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


# --- the disk


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Within, no file grows beyond this, as on a disk that is full: the last write is cut short."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@posix
def test_a_checkpoint_that_finds_no_room_leaves_the_one_before(tmp_path, unbroken):
    out = tmp_path / "run"
    events = prepared(out).events()
    until(events, Stepped, 32)
    size = min(path.stat().st_size for path in out.glob("checkpoints/*.safetensors"))
    with files_of_at_most(size - 1):  # last.safetensors, which is smaller, goes through
        fails(events, r"cannot write .*000000032-validated\.safetensors: File too large")
    assert [path.name for path in out.glob("checkpoints/0*")] == ["000000016-validated.safetensors"]
    assert finish(out).plan.images_seen == 16
    assert_same(out, unbroken)


@posix
def test_a_line_of_the_log_that_finds_no_room_is_told_once_and_dropped(tmp_path, unbroken):
    out = tmp_path / "run"
    events = prepared(out).events()
    until(events, Validated, 32)
    log = out / "metrics.jsonl"
    with files_of_at_most(log.stat().st_size + 20):
        fails(events, r"cannot write .*metrics\.jsonl: File too large")
    assert not log.read_text().endswith("\n")
    finish(out)
    assert_same(out, unbroken)


@pytest.fixture
def disk(tmp_path):
    """A disk of its own, and a way to set its size."""
    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("only root mounts a disk")
    place = tmp_path / "disk"
    place.mkdir()

    def sized(kilobytes: int, *options: str) -> Path:
        how = ",".join([f"size={kilobytes}k", *options])
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", how, "tmpfs", str(place)], capture_output=True)
        if done.returncode:
            pytest.skip("no disk can be mounted here")
        return place

    yield sized
    subprocess.run(["umount", str(place)], capture_output=True)


@pytest.mark.parametrize("tensorboard", [False, True], ids=["", "with tensorboard"])
def test_a_full_disk_ends_a_run_that_goes_on_when_there_is_room(disk, unbroken, tensorboard):
    out = disk(144) / "run"
    with pytest.raises(NoisetteError, match=r"^cannot write .*: No space left on device$") as caught:
        list(prepared(out, tensorboard=tensorboard).events())
    assert caught.value.exit_code == 1
    disk(1000, "remount")
    shutil.rmtree(out / "tensorboard", ignore_errors=True)
    assert finish(out).plan.damage is None
    assert_same(out, unbroken)


@contextmanager
def as_anyone(mode: int) -> Iterator[Path]:
    """A folder of this mode with a run of the same in it, and within no rights beyond those of any user."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "run").mkdir()
        (place / "run" / "config.toml").write_text(to_toml(CONFIG))
        for folder in (place / "run", place):
            folder.chmod(mode)
        if root:
            os.seteuid(65534)
        try:
            yield place
        finally:
            if root:
                os.seteuid(0)
            for folder in (place, place / "run"):
                folder.chmod(0o755)


@posix
@pytest.mark.parametrize("name", ["run", "new"])
def test_a_folder_that_may_only_be_read_is_refused(name):
    with as_anyone(0o555) as place, pytest.raises(Refusal, match=r"cannot write .*: Permission denied") as caught:
        prepared(place / name)
    assert "\n" not in str(caught.value)


@posix
def test_a_folder_that_may_not_even_be_looked_into_is_refused():
    with as_anyone(0) as place, pytest.raises(Refusal, match=r"cannot write .*: Permission denied"):
        prepared(place / "run")


@posix
@pytest.mark.parametrize("again", [False, True], ids=["removed", "removed and made again"])
def test_a_folder_that_is_removed_under_a_run_ends_it_and_is_not_made_again(tmp_path, again):
    out = tmp_path / "run"
    events = prepared(out).events()
    until(events, Stepped, 32)
    shutil.rmtree(out)
    if again:
        out.mkdir()
    fails(events, r"run was removed or replaced while it was written to: nothing more is saved")
    assert [path.name for path in tmp_path.rglob("*")] == ["run"] * again


# --- the newest checkpoint, and what it does not know of


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(path.read_bytes()[:-9]), Path.unlink])
def test_a_damaged_newest_checkpoint_is_said_and_the_one_before_gone_on_from(tmp_path, unbroken, damage):
    out = tmp_path / "run"
    events = prepared(out).events()
    until(events, Validated, 48)
    events.close()
    damage(out / "checkpoints" / "000000048-validated.safetensors")
    run = prepared(out)
    assert run.plan.images_seen == 32
    line = plan_lines(run)[-1]
    assert line.startswith("resumed  000000048-validated.safetensors ")
    assert line.endswith(": going on from the checkpoint before it, at 32 images")
    assert isinstance(list(run.events())[-1], Finished)
    assert_same(out, unbroken)
    assert prepared(out).plan.damage is None


def test_nothing_is_said_of_whole_checkpoints(unbroken):
    run = prepared(unbroken)
    assert run.plan.damage is None
    assert not any(line.startswith("resumed") for line in plan_lines(run))


def test_what_a_killed_process_left_is_dropped(tmp_path, unbroken):
    """Half-written files, a grid and lines of a future that the newest checkpoint does not know of."""
    out = tmp_path / "run"
    events = prepared(out).events()
    until(events, Validated, 16)
    events.close()
    for name in ("best-a.safetensors", "samples/x.png", "checkpoints/0-x.safetensors", "checkpoints/manifest-x.json"):
        path = out / name
        (path.parent / f".unfinished-{path.name}").write_bytes(b"half")
    (out / "samples" / "000000999.png").write_bytes(b"of a lost future")
    (out / "checkpoints" / "000000032.safetensors").write_bytes(b"not in the manifest")
    line = (out / "metrics.jsonl").read_text().splitlines()[0]
    assert '"images_seen": 16,' in line
    with (out / "metrics.jsonl").open("a") as log:
        log.write(line.replace('"images_seen": 16,', '"images_seen": 32,') + '\n{"event": "st')
    finish(out)
    assert_same(out, unbroken)


@pytest.mark.parametrize("left", [[], ["run.lock"], ["run.lock", ".unfinished-config-x.toml"]], ids=len)
def test_a_process_that_was_killed_before_its_first_file_leaves_a_new_folder(tmp_path, unbroken, left):
    out = tmp_path / "run"
    out.mkdir()
    for name in left:
        (out / name).touch()
    finish(out)
    assert_same(out, unbroken)


def test_ctrl_c_while_tensorboard_starts_leaves_a_run_that_goes_on(tmp_path, unbroken):
    out = tmp_path / "run"
    run = prepared(out, tensorboard=True)
    assert not out.exists()

    def interrupted(folder: str) -> None:
        Path(folder).mkdir()
        raise KeyboardInterrupt

    run.board._make = interrupted
    with pytest.raises(KeyboardInterrupt):
        next(run.events())
    (out / "tensorboard").rmdir()
    finish(out)
    assert_same(out, unbroken)


# --- two processes, and the clock


def test_a_second_process_in_the_folder_is_refused(tmp_path, unbroken):
    out = tmp_path / "run"
    shutil.copytree(unbroken, out)
    before = told(out).keys()
    with locked(out), pytest.raises(Refusal, match="run is in use by another process") as caught:
        prepared(out)
    assert "\n" not in str(caught.value)
    assert told(out).keys() == before
    finish(out)


def test_of_two_that_prepare_a_new_run_one_trains_it(tmp_path, unbroken):
    out = tmp_path / "run"
    first, second, third = (prepared(out) for _ in range(3))
    events = first.events()
    next(events)
    with pytest.raises(Refusal, match="run is in use by another process"):
        next(second.events())
    until(events, Finished, 64)
    events.close()
    with pytest.raises(Refusal, match="run changed by another process: expected to be prepared anew"):
        next(third.events())
    assert_same(out, unbroken)


def test_the_command_says_so_in_one_line(tmp_path, unbroken, capsys):
    out = tmp_path / "run"
    shutil.copytree(unbroken, out)
    (out / "config.toml").write_text(to_toml(noisette.load_recipe("demo")))
    with locked(out):
        assert main(["train", "--recipe", "demo", "--device", "cpu", "--out", str(out)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"noisette: {out} is in use by another process")
    assert said.err.count("\n") == 1


def test_a_clock_that_goes_backwards_changes_nothing(tmp_path, unbroken, monkeypatch):
    moments = iter(range(10**9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(moments)))
    monkeypatch.setattr(time, "time_ns", lambda: next(moments) * 10**9)
    out = tmp_path / "run"
    finish(out)
    seconds = [record["seconds"] for record in read_log(out / "metrics.jsonl")]
    assert seconds == sorted(seconds)
    assert_same(out, unbroken)


def test_the_newest_is_decided_by_the_manifest_not_by_times(tmp_path, unbroken):
    out = tmp_path / "run"
    shutil.copytree(unbroken, out)
    for path in out.glob("checkpoints/*"):
        os.utime(path, (1, 1) if "64" in path.name else None)
    newest = Checkpoints(out / "checkpoints").newest
    assert newest is not None
    assert newest.name == "000000064-validated.safetensors"
