from __future__ import annotations

import pytest

from stream.events import Rules
from stream.thresholds import Thresholds, ThresholdsError

BUNDLE = Thresholds.parse(
    {
        "temperature": 1.5,
        "defaults": {"min_duration_s": 0.25},
        "labels": {"walk": {"enter": 0.7, "exit": 0.5}, "run": {"enter": 0.8}},
    }
)


def test_the_bundles_word_where_the_user_says_nothing() -> None:
    rules = BUNDLE.rules(["walk", "run", "skip"], {})
    assert rules["walk"] == Rules(enter=0.7, exit=0.5, min_duration_s=0.25)
    assert rules["run"] == Rules(enter=0.8, min_duration_s=0.25)
    assert rules["skip"] == Rules(min_duration_s=0.25)


def test_the_users_word_goes_before() -> None:
    rules = BUNDLE.rules(["walk"], {"walk": {"min_duration_s": 2.0, "exit": 0.3}})
    assert rules["walk"] == Rules(enter=0.7, exit=0.3, min_duration_s=2.0)


def test_an_enter_of_the_users_takes_the_bundles_exit_away() -> None:
    assert BUNDLE.rules(["walk"], {"walk": {"enter": 0.3}})["walk"].exit_score == pytest.approx(0.2)


def test_a_contradiction_names_the_label() -> None:
    with pytest.raises(ThresholdsError, match=r"'walk'.*exit \(0.9\) must not be above enter \(0.7\)"):
        BUNDLE.rules(["walk"], {"walk": {"exit": 0.9}})


@pytest.mark.parametrize("data", [{"temperature": 0}, {"labels": {"walk": 1}}, {"threshold": 1}])
def test_a_bundle_that_makes_no_sense(data: dict[str, object]) -> None:
    with pytest.raises(ThresholdsError, match="the model's thresholds"):
        Thresholds.parse(data)


def test_a_bundles_unknown_rule() -> None:
    with pytest.raises(ThresholdsError, match=r"'walk'.*entre"):
        Thresholds.parse({"labels": {"walk": {"entre": 0.5}}}).rules(["walk"], {})
