from __future__ import annotations

import pytest

from calibration.footage import FootageError, find_recordings
from calibration.int8 import split

LABELS = ("move", "none")


def test_labels_groups_and_cameras_come_from_folders_and_the_split(footage):
    found = {recording.source.rpartition("/")[2]: recording for recording in find_recordings([str(footage)], LABELS)}
    assert {name: (r.label, r.camera) for name, r in found.items()} == {
        "a.mp4": ("move", "ann"),
        "b.mp4": ("move", "bob"),
        "c.mp4": (None, "other"),
        "d.mp4": (None, "other"),
    }


def test_a_file_named_twice_is_one_recording(footage):
    file = str(footage / "other" / "c.mp4")
    assert len(find_recordings([file, str(footage), file], LABELS)) == 4


def test_a_live_camera_keeps_its_password_to_itself():
    (camera,) = find_recordings(["rtsp://viewer:hunter2@192.0.2.7/stream"], LABELS)
    assert camera.live
    assert "hunter2" not in f"{camera!r} {camera.name} {camera.camera}"
    assert "hunter2" in camera.source


@pytest.mark.parametrize(
    ("footage_given", "told"),
    [("nowhere", "no such file"), ("http://192.0.2.7/x", "cannot open 'http://'"), ("~nobody-here/x", "home folder")],
)
def test_footage_that_is_not_there_is_told(footage_given, told):
    with pytest.raises(FootageError, match=told):
        find_recordings([footage_given], LABELS)


def test_an_empty_folder_and_a_bad_split_are_told(tmp_path, footage):
    with pytest.raises(FootageError, match="no videos in it"):
        find_recordings([str(tmp_path)], LABELS)
    (tmp_path / "a.mp4").touch()
    (tmp_path / "split.csv").write_text("file,subject\na.mp4,ann\n")
    with pytest.raises(FootageError, match="no column 'path'"):
        find_recordings([str(tmp_path)], LABELS)


def test_no_recording_both_calibrates_and_checks(footage):
    recordings = find_recordings([str(footage)], LABELS)
    calibrating, checking = split(recordings)
    assert calibrating
    assert checking
    assert {r.source for r in calibrating} | {r.source for r in checking} == {r.source for r in recordings}
    assert not {r.source for r in calibrating} & {r.source for r in checking}
    camera = find_recordings(["rtsp://192.0.2.7/stream"], LABELS)
    assert split([*camera, *recordings[:1]]) == (camera, recordings[:1])
    for few in (recordings[:1], camera):
        with pytest.raises(FootageError, match="two recordings at least"):
            split(few)
