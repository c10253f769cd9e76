"""Another scene behind the person: for clips of one static camera each, whose scene would give the action away."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from stream.frame import PlaneArray

MOVED = 14.0  # grey levels from the scene's median; noise stays below
MOST = 0.6  # of the picture: where more moves, the camera does


def with_scene(rng: np.random.Generator, pictures: PlaneArray, other: PlaneArray) -> PlaneArray:
    """Small ungraded pictures [n, H*3//2, W] whose surroundings are blended with `other` [H*3//2, W].

    Kept is the convex hull of all that moves in them, so that limbs keep the body between them; the border is the same
    in every picture, so that nothing seems to move that does not. A moving camera's pictures come back as they are.
    """
    h, w = pictures.shape[1] * 2 // 3, pictures.shape[2]
    luma = pictures[:, :h].astype(np.float32)
    some = luma[np.linspace(0, len(luma) - 1, min(len(luma), 15)).astype(np.intp)]
    moved = (np.abs(some - np.median(some, axis=0)).max(axis=0) > MOVED).astype(np.uint8)
    moved = np.asarray(cv2.morphologyEx(moved, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)), np.uint8)
    points = cv2.findNonZero(moved)
    if points is None:
        return pictures
    keep = np.zeros((h, w), np.float32)
    cv2.fillConvexPoly(keep, cv2.convexHull(points), 1.0)
    reach = max(3, h // 12)
    keep = np.asarray(cv2.dilate(keep, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)), np.float32)
    if keep.mean() > MOST:
        return pictures
    weight = rng.uniform(0.4, 1.0) * (1 - np.asarray(cv2.GaussianBlur(keep, (0, 0), reach / 4), np.float32))
    return blended(pictures, other, weight.astype(np.float32))


def blended(pictures: PlaneArray, other: PlaneArray, weight: npt.NDArray[np.float32]) -> PlaneArray:
    """weight: of `other`, float32 [H, W], 0 to 1."""
    h, w = weight.shape
    small = np.asarray(cv2.resize(weight, (w // 2, h // 2), interpolation=cv2.INTER_AREA), np.float32)
    # I420: a chroma plane is H/4 rows of W, each of them two rows of W/2.
    planes = np.concatenate([weight, *(small.reshape(h // 4, w) for _ in "uv")])
    mixed = pictures + planes * (other.astype(np.float32) - pictures)
    return np.asarray(np.rint(mixed), np.uint8)
