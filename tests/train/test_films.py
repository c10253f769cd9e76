from __future__ import annotations

from pathlib import Path

import numpy as np

from train.data.clips import ClipRef, load_footage
from train.data.join import letterboxed, rgb_pictures
from train.films import CLIPS, make_films, plan_films


def refs(group: str, count: int) -> list[ClipRef]:
    return [ClipRef(Path(f"{group}{n:02d}.mp4"), "walk", group) for n in range(count)]


def test_a_group_makes_a_film_and_lonely_clips_one_together() -> None:
    alone = [ClipRef(Path(f"x{n:02d}.mp4"), "walk", f"x{n}") for n in range(CLIPS + 2)]
    given = [*refs("b", 3), *alone, *refs("a", 2 * CLIPS)]
    planned = plan_films(given)
    assert [(name, len(clips)) for name, clips in planned] == [
        ("a 1", CLIPS),
        ("a 2", CLIPS),
        ("b", 3),
        ("single clips 1", CLIPS // 2 + 1),
        ("single clips 2", CLIPS // 2 + 1),
    ]
    assert {ref for _, clips in planned for ref in clips} == set(given)
    assert planned == plan_films(given[::-1]), "the order of the clips changes nothing"
    assert planned != plan_films(given, seed=1)


def test_clips_of_another_size_are_letterboxed(clips: Path, tmp_path: Path) -> None:
    white = np.full((20, 20, 3), 255, np.uint8)
    boxed = letterboxed(white, 40, 80)
    assert boxed.shape == (40, 80, 3)
    assert boxed[:, 20:60].min() == 255
    assert boxed[:, :20].max() == boxed[:, 60:].max() == 0

    from stream.demo.record import write_mp4

    small = tmp_path / "small.mp4"
    write_mp4(small, (np.full((64, 64, 3), 200, np.uint8) for _ in range(10)), 10)
    given = [ClipRef(clips / "walk/anna.mp4", "walk", "g"), ClipRef(small, "none", "g")]
    told: list[None] = []
    (film,) = make_films(given, tmp_path, on_clip=lambda: told.append(None))
    assert len(told) == 2
    assert film.seconds == 12
    assert sorted(span.label for span in film.truth) == ["none", "none", "none", "walk"]
    pictures = rgb_pictures(load_footage(ClipRef(film.path, "", ""), max_height=10_000))
    assert len(pictures) == 300
