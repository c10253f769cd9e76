"""Draws a programme: the scene that is on, and beforehand the one that comes next."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np

from stream.demo.figure import Canvas
from stream.demo.scene import Lens, Scene
from stream.demo.schedule import Programme, Shot

_AHEAD_S = 1.0  # a 640x360 background takes 60 ms to paint: longer than a frame may take


class Player:
    """Frames of a programme at any time, best asked for in order. caption: names the action in a corner."""

    def __init__(self, programme: Programme, width: int, height: int, *, caption: bool = False) -> None:
        self.programme, self.width, self.height, self.caption = programme, width, height, caption
        self._painter = ThreadPoolExecutor(1, thread_name_prefix="demo-painter")
        self._shot: Shot | None = None
        self._scene: Scene | None = None
        self._coming: tuple[Shot, Future[Scene]] | None = None

    def frame(self, t_s: float) -> Canvas:
        """uint8 [height, width, 3] RGB at t_s >= 0 seconds."""
        shot = self.programme.shot_at(t_s)
        if shot != self._shot or self._scene is None:
            self._scene = self._built(shot)
            self._shot = shot
        if self._coming is None and t_s + _AHEAD_S >= shot.end_s:
            following = self.programme.shot_at(shot.end_s + 0.001)
            self._coming = following, self._painter.submit(self._build, following)
        picture = self._scene.frame(t_s - shot.start_s)
        if self.caption:
            place = (round(self.height * 0.03), round(self.height * 0.97))
            size = self.height / 600
            label = self.programme.truth_at(t_s)
            cv2.putText(picture, label, place, cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 3, cv2.LINE_AA)
            cv2.putText(picture, label, place, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 1, cv2.LINE_AA)
        return picture

    def close(self) -> None:
        self._painter.shutdown(cancel_futures=True)

    def _built(self, shot: Shot) -> Scene:
        coming, self._coming = self._coming, None
        if coming is not None and coming[0] == shot:
            return coming[1].result()
        return self._build(shot)

    def _build(self, shot: Shot) -> Scene:
        """A scene as a decent camera sees it: the actor large enough and inside, some noise."""
        rng = np.random.default_rng(shot.seed)
        lens = Lens(
            shake_px=0.0,
            gain=float(rng.uniform(0.85, 1.1)),
            flicker=float(rng.uniform(0, 0.01)),
            drift=float(rng.uniform(0, 0.06)),
            drift_hz=0.1,
            step=0.0,
            step_s=0.0,
            noise=float(rng.uniform(0.8, 3.0)),
            blur=0.6,
        )
        size = float(rng.uniform(0.55, 0.72))
        return Scene(rng, shot.segments, self.width, self.height, lens=lens, body_height=size, border="turn")
