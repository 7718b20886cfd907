"""The log: an event a line, in order; lines of a future that was lost are dropped."""

import dataclasses
import json
import math

import pytest

from noisette.base.errors import Refusal
from noisette.training.log import Log, read_log
from noisette.training.loop import Finished, Progress, Stepped, Validated


def step(seen: int) -> Stepped:
    return Stepped(seen, loss=1.0 / seen, learning_rate=1e-3, gradient_norm=0.5)


def validation(seen: int) -> Validated:
    return Validated(seen, 0.25, (0.1, 0.4), (0.002, 1.0, 80.0), is_best=True, rate_dropped=False)


def written(path, events, progress=None) -> list[dict]:
    log = Log(path, progress or Progress())
    for number, event in enumerate(events):
        log.write(event, seconds=1.23456 * number)
    log.close()
    return [json.loads(line) for line in path.read_text().splitlines()]


def short(records) -> str:
    return " ".join(f"{record['event'][0]}{record['images_seen']}" for record in records)


def test_every_event_is_a_line_with_all_it_says(tmp_path):
    path = tmp_path / "metrics.jsonl"
    records = written(path, [step(16), validation(16), Finished(16, "horizon reached")])
    assert records == [
        {
            "event": "step",
            "images_seen": 16,
            "loss": 0.0625,
            "learning_rate": 0.001,
            "gradient_norm": 0.5,
            "seconds": 0.0,
        },
        {
            "event": "validation",
            "images_seen": 16,
            "loss": 0.25,
            "bucket_losses": [0.1, 0.4],
            "bucket_edges": [0.002, 1.0, 80.0],
            "is_best": True,
            "rate_dropped": False,
            "seconds": 1.235,
        },
        {"event": "finished", "images_seen": 16, "reason": "horizon reached", "seconds": 2.469},
    ]
    assert read_log(path) == records


def test_what_json_has_no_word_for_is_never_written(tmp_path):
    log = Log(tmp_path / "metrics.jsonl", Progress())
    with pytest.raises(ValueError, match="not JSON compliant"):
        log.write(dataclasses.replace(step(16), loss=math.nan), seconds=1.0)
    log.close()
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""


def test_a_line_can_be_read_while_the_run_goes_on(tmp_path):
    log = Log(tmp_path / "metrics.jsonl", Progress())
    log.write(step(16), 0.0)
    assert short(read_log(tmp_path / "metrics.jsonl")) == "s16"
    log.close()


@pytest.mark.parametrize(
    ("seen", "validated", "kept"),
    [
        (0, -1, ""),
        (16, -1, "s16"),
        (32, 0, "s16 s32"),  # stopped at a multiple, before its validation
        (32, 32, "s16 s32 v32"),
        (48, 32, "s16 s32 v32 s48"),
        (64, 64, "s16 s32 v32 s48 s64 v64"),
        (999, 999, "s16 s32 v32 s48 s64 v64"),
    ],
)
def test_lines_of_a_future_that_was_lost_are_dropped(tmp_path, seen, validated, kept):
    path = tmp_path / "metrics.jsonl"
    written(path, [step(16), step(32), validation(32), step(48), step(64), validation(64), Finished(64, "over")])
    records = written(path, [step(seen + 16)], Progress(images_seen=seen, validated_at=validated))
    assert short(records) == f"{kept} s{seen + 16}".strip()


def test_a_last_line_cut_short_is_left_out_and_the_next_starts_anew(tmp_path):
    path = tmp_path / "metrics.jsonl"
    written(path, [step(16), step(32)])
    path.write_text(path.read_text()[:-9])
    assert short(read_log(path)) == "s16"
    assert short(written(path, [step(32)], Progress(images_seen=16))) == "s16 s32"


@pytest.mark.parametrize(
    "line", ["", "{", "3", "[]", '{"event": "step"}', '{"images_seen": 3}', "\xff\xfe", " " * 2**17]
)
def test_another_bad_line_is_refused_with_its_number(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    good = json.dumps({"event": "finished", "images_seen": 16, "reason": "over", "seconds": 1.0})
    path.write_text(f"{good}\n{line}\n{good}\n", encoding="latin-1")
    with pytest.raises(Refusal, match=r"metrics\.jsonl line 2 is not a record of a run"):
        read_log(path)
    with pytest.raises(Refusal, match="line 2"):
        Log(path, Progress(images_seen=16))


def test_an_empty_log_and_a_new_one_are_the_same(tmp_path):
    (tmp_path / "empty").write_text("")
    assert written(tmp_path / "empty", [step(16)]) == written(tmp_path / "new", [step(16)])


def test_a_divergence_is_a_line_that_going_on_drops(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = Log(path, Progress())
    log.write(step(16), seconds=1.0)
    log.write_diverged(16, "loss nan", seconds=1.23456)
    log.close()
    last = read_log(path)[-1]
    assert last == {"event": "diverged", "images_seen": 16, "reason": "loss nan", "seconds": 1.235}
    Log(path, Progress(images_seen=16)).close()
    assert short(read_log(path)) == "s16"
