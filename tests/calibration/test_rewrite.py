from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from calibration.rewrite import rewrite
from engine.bundle import Bundle, BundleError


@pytest.fixture
def bundle(tiny_bundle: Bundle, tmp_path: Path) -> Bundle:
    """A copy to write to."""
    return Bundle.load(Path(shutil.copytree(tiny_bundle.path, tmp_path / "tiny")))


def test_files_are_replaced_and_added_in_place_and_the_rest_stays(bundle):
    before = dict(bundle.files)
    after = rewrite(bundle, {"thresholds.yaml": b"temperature: 2.0\n", "scores.json": b"{}\n"})
    assert after.path == bundle.path
    assert after.thresholds == {"temperature": 2.0}
    assert {name for name, digest in after.files.items() if before.get(name) != digest} == {
        "thresholds.yaml",
        "scores.json",
    }
    assert after.fingerprint != bundle.identity
    assert [path.name for path in bundle.path.parent.iterdir()] == ["tiny"]


def test_a_copy_leaves_the_bundle_alone(bundle, tmp_path):
    made = rewrite(bundle, {"card.md": b"# other\n"}, tmp_path / "deep" / "copy")
    assert made.path == tmp_path / "deep" / "copy"
    assert (Bundle.load(bundle.path).path / "card.md").read_text() == "# tiny\n"


def test_what_would_not_load_is_not_put_in_place(bundle):
    with pytest.raises(BundleError):
        rewrite(bundle, {"thresholds.yaml": b"- no\n- mapping\n"})
    assert Bundle.load(bundle.path).identity == bundle.identity
    assert [path.name for path in bundle.path.parent.iterdir()] == ["tiny"]


def test_a_folder_of_other_things_is_refused(bundle, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(BundleError, match=r"no model bundle: give another folder with --out"):
        rewrite(bundle, {}, tmp_path / "photos")
    assert (tmp_path / "photos" / "cat.jpg").exists()
