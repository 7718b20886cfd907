"""What training may choose: bad settings are refused in one line, and the horizon is counted."""

import pytest

from noisette.base.config import from_plain, to_plain
from noisette.base.errors import Refusal
from noisette.training.config import TrainingConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": 0}, "images 0: expected at least 1"),
        ({"minutes": 0.0}, r"minutes 0\.0: expected a positive number"),
        ({"minutes": float("inf")}, "minutes inf: expected a positive number"),
        ({"minutes": float("nan")}, "minutes nan: expected a positive number"),
        ({"batch_size": 0}, "batch_size 0: expected at least 1"),
        ({"batch_size": 10, "accumulation": 4}, "accumulation 4: expected a divisor of the batch size 10"),
        ({"accumulation": 0}, "accumulation 0: expected at least 1"),
        ({"optimizer": "moun"}, "unknown optimizer 'moun': .*did you mean 'muon'"),
        ({"rate": "constnat"}, "unknown rate 'constnat': .*did you mean 'constant'"),
        ({"learning_rate": 0}, r"learning_rate 0\.0: expected a positive number"),
        ({"learning_rate": "fast"}, "learning_rate: expected float, found 'fast'"),
        ({"adamw_rate": -1}, r"adamw_rate -1\.0: expected a positive number"),
        ({"weight_decay": -0.1}, r"weight_decay -0\.1: expected at least 0"),
        ({"warmup_images": -1}, "warmup_images -1: expected at least 0"),
        ({"patience": -1}, "patience -1: expected at least 0"),
        ({"plateau_patience": 0}, "plateau_patience 0: expected at least 1"),
        ({"plateau_factor": 1}, r"plateau_factor 1\.0: expected a factor between 0 and 1"),
        ({"gradient_clip": -1}, r"gradient_clip -1\.0: expected at least 0"),
        ({"gradient_clip": float("nan")}, "gradient_clip nan: expected at least 0"),
        ({"ema_halflife_images": -1}, "ema_halflife_images -1: expected at least 0"),
        ({"ema_ramp": 0}, r"ema_ramp 0\.0: expected a positive number"),
        ({"label_drop": 1.5}, r"label_drop 1\.5: expected a share from 0 to 1"),
        ({"validate_every": 0}, "validate_every 0: expected at least 1"),
        ({"validation_images": -1}, "validation_images -1: expected at least 0"),
        ({"precision": "float16"}, "precision: unknown choice 'float16': .*did you mean 'bfloat16'"),
        ({"epochs": 3}, "unknown key 'epochs'"),
        ({"batch": 3}, "unknown key 'batch': .*did you mean 'batch_size'"),
    ],
    ids=str,
)
def test_bad_settings_are_refused_in_one_line(settings, message):
    with pytest.raises(Refusal, match=message) as caught:
        from_plain(TrainingConfig, settings, "training")
    assert "\n" not in str(caught.value)


def test_settings_survive_their_plain_form():
    config = TrainingConfig(images=7, batch_size=6, accumulation=3, optimizer="muon", precision="auto")
    assert from_plain(TrainingConfig, to_plain(config), "training") == config


@pytest.mark.parametrize(
    ("horizon", "seen", "seconds", "share"),
    [
        ({}, 10**9, 1e9, 0.0),
        ({"images": 200}, 50, 1e9, 0.25),
        ({"images": 200}, 999, 0, 1.0),
        ({"minutes": 2.0}, 10**9, 30, 0.25),
        ({"images": 200, "minutes": 2.0}, 50, 60, 0.5),
        ({"images": 200, "minutes": 2.0}, 150, 60, 0.75),
    ],
)
def test_the_horizon_is_the_nearer_of_images_and_minutes(horizon, seen, seconds, share):
    assert TrainingConfig(**horizon).share_done(seen, seconds) == pytest.approx(share)
