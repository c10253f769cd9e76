"""Messages between core and worker."""

from __future__ import annotations

import pickle

import pytest

from stream.messages import AddCameras, CameraTask, RingPlace, ZoneTask
from stream.uri import CameraUri
from stream.zone import Zone

ZONE = ZoneTask("door", 12, 12.5, 80, 96, (0, 2), Zone(0.5, 0, 0.5, 1))


def test_a_task_arrives_as_it_was_sent() -> None:
    task = CameraTask("cam", CameraUri.parse("rtsp://me:s3cret@host/path"), (ZONE,), transport="udp", tls_ca="/ca.pem")
    command = AddCameras(3, 4096, (task,), ((RingPlace(64, 49),),), (7,))
    assert pickle.loads(pickle.dumps(command)) == command


def test_a_printed_task_shows_no_password() -> None:
    task = CameraTask("cam", CameraUri.parse("rtsp://me:s3cret@host/path?token=s3cret"), (ZONE,))
    assert "s3cret" not in repr(AddCameras(3, 4096, (task,), ((RingPlace(64, 49),),), (7,)))


def test_a_camera_without_zones_is_refused() -> None:
    with pytest.raises(ValueError, match="cam has no zone"):
        CameraTask("cam", CameraUri.parse("/a.mp4"), ())
