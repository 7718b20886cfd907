"""Configurations go to plain values and back without loss, and refuse what they do not know."""

import json
import tomllib
from dataclasses import dataclass
from typing import Literal

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from noisette.base.config import flatten, from_plain, require, to_plain
from noisette.base.errors import Refusal
from noisette.base.text_file import read_toml
from noisette.diffusion.noise import LevelRange
from noisette.diffusion.objective import DiffusionConfig
from noisette.perception.contrast import ContrastConfig
from noisette.perception.fit import FitConfig
from noisette.training.config import TrainingConfig
from noisette.workflows.recipes import DataConfig
from noisette.workflows.reward import RewardRequest


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    name: str = "inner"


@dataclass(frozen=True)
class Outer:
    count: int
    inner: Inner = Inner()
    on: bool = False
    kind: Literal["plain", "fancy"] = "plain"
    limit: float | None = None
    widths: tuple[int, ...] = (1, 2)
    span: tuple[float, str] = (0.0, "s")

    def __post_init__(self) -> None:
        require(self.count > 0, f"count {self.count}", "a positive number")


OUTERS = st.builds(
    Outer,
    count=st.integers(1, 2**40),
    inner=st.builds(Inner, rate=st.floats(allow_nan=False), name=st.text(st.characters(codec="utf-8"))),
    on=st.booleans(),
    kind=st.sampled_from(["plain", "fancy"]),
    limit=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    widths=st.lists(st.integers(0, 9)).map(tuple),
    span=st.tuples(st.floats(0, 1), st.sampled_from("abc")),
)


@given(OUTERS)
def test_there_and_back_through_toml_and_json(config):
    assert from_plain(Outer, tomllib.loads(tomli_w.dumps(to_plain(config))), "here") == config
    assert from_plain(Outer, json.loads(json.dumps(to_plain(config))), "here") == config


def test_the_diffusion_of_a_model_survives_its_weights():
    config = DiffusionConfig(levels=LevelRange(rho=5.0), data_std=0.3, training_levels="log-snr")
    assert from_plain(DiffusionConfig, json.loads(json.dumps(to_plain(config))), "weights") == config


def test_keys_left_out_keep_the_base_or_the_default():
    base = Outer(count=3, inner=Inner(rate=0.1, name="base"), on=True)
    found = from_plain(Outer, {"inner": {"rate": 2}}, "here", base)
    assert found == Outer(count=3, inner=Inner(rate=2.0, name="base"), on=True)
    assert from_plain(Outer, {"count": 1}, "here") == Outer(count=1)


def test_an_int_becomes_a_float_where_one_is_asked_for():
    rate = from_plain(Inner, {"rate": 2}, "here").rate
    assert (rate, type(rate)) == (2.0, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 1, "knid": "plain"}, r"^here: unknown key 'knid'.*did you mean 'kind'\?$"),
        ({"count": 1, "inner": {"raet": 1.0}}, r"^here: inner: unknown key 'raet'.*did you mean 'rate'\?$"),
        ({"count": 1, "kind": "fancie"}, r"^here: kind: unknown choice 'fancie'.*did you mean 'fancy'\?$"),
        ({}, "^here: missing count$"),
        ({"count": 1.0}, "^here: count: expected int, found 1.0$"),
        ({"count": True}, "^here: count: expected int, found True$"),
        ({"count": "1"}, "^here: count: expected int, found '1'$"),
        ({"count": 1, "on": 1}, "^here: on: expected bool, found 1$"),
        ({"count": 1, "limit": "high"}, "^here: limit: expected float, found 'high'$"),
        ({"count": 1, "limit": True}, "^here: limit: expected float, found True$"),
        ({"count": 1, "inner": 3}, "^here: inner: expected a table of settings, found 3$"),
        ({"count": 1, "widths": 3}, r"^here: widths: expected tuple\[int, \.\.\.\], found 3$"),
        ({"count": 1, "widths": [1, "2"]}, "^here: widths: expected int, found '2'$"),
        ({"count": 1, "span": [1.0]}, "^here: span: expected 2 values, found 1$"),
        ({"count": 0}, "^count 0: expected a positive number$"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(values, message):
    with pytest.raises(Refusal, match=message):
        from_plain(Outer, values, "here")


def test_a_file_that_is_not_toml_is_refused_by_name_and_line(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("a = 1\nb = \n")
    with pytest.raises(Refusal, match=r"broken\.toml is not valid TOML: .*line 2"):
        read_toml(path)
    path.write_bytes(b"\xff")
    with pytest.raises(Refusal, match=r"broken\.toml is not UTF-8 text"):
        read_toml(path)


def test_a_toml_file_is_read(tmp_path):
    path = tmp_path / "fine.toml"
    path.write_text('[inner]\nname = "ä"\n', encoding="utf-8")
    assert read_toml(path) == {"inner": {"name": "ä"}}


@pytest.mark.parametrize("config", [TrainingConfig, DataConfig, FitConfig, ContrastConfig, RewardRequest])
def test_a_number_that_no_file_can_hold_is_refused_before_it_is_written(config):
    """TOML and JSON readers refuse it: a run could not go on, a model could not be loaded."""
    name = "split_seed" if config is DataConfig else "seed"
    config(**{name: -(2**63)})
    with pytest.raises(Refusal, match=f"{name} {2**63}: expected a number of at most 63 bits"):
        config(**{name: 2**63})


def test_nested_tables_become_one_under_dotted_keys():
    assert flatten({"a": 1, "b": {"c": [2], "d": {"e": None}}}) == {"a": 1, "b.c": [2], "b.d.e": None}
