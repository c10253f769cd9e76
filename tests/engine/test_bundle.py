from __future__ import annotations

import zlib

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from engine import bundle as bundle_module
from engine.bundle import Bundle, BundleError, _sha256, save_bundle, shipped


def relist(folder, *names):
    """List changed files as they are now: a bundle that is whole, whatever its parts say."""
    path = folder / "model.yaml"
    manifest = yaml.safe_load(path.read_text())
    manifest["files"] |= {name: _sha256(folder / name) for name in names}
    path.write_text(yaml.safe_dump(manifest))


def edit(folder, change):
    path = folder / "model.yaml"
    manifest = yaml.safe_load(path.read_text())
    change(manifest)
    path.write_text(yaml.safe_dump(manifest))


def test_round_trip(exported, small):
    bundle = Bundle.load(exported)
    assert bundle.spec == small()
    assert bundle.thresholds == {"temperature": 1.0}
    assert bundle.precisions == ["fp32"]
    assert bundle.onnx("fp32") == exported / "network.fp32.onnx"
    assert {a.dtype for a in bundle.weights_arrays().values()} == {np.dtype(np.float16)}
    assert not list(exported.parent.glob(".*")), "a temporary folder was left behind"


def test_no_pickle_anywhere(exported):
    assert {f.suffix for f in exported.iterdir()} == {".yaml", ".safetensors", ".onnx", ".md"}


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "network.fp32.onnx", "parity.safetensors", "thresholds.yaml", "card.md"]
)
def test_missing_and_damaged_files_are_named(name, bundle_folder):
    file = bundle_folder / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name} is damaged .* copy the whole bundle again"):
        Bundle.load(bundle_folder)
    file.unlink()
    with pytest.raises(BundleError, match=rf"{name} is missing"):
        Bundle.load(bundle_folder)


def test_a_file_that_cannot_be_read_is_named(bundle_folder):
    """The superuser may read everything but a folder's bytes and another process's memory."""
    file = bundle_folder / "thresholds.yaml"
    file.unlink()
    file.symlink_to("/proc/self/mem")
    with pytest.raises(BundleError, match=r"cannot be read: "):
        Bundle.load(bundle_folder)
    with pytest.raises(BundleError, match=r"cannot be read: File name too long"):
        Bundle.load("x" * 300)
    with pytest.raises(BundleError, match=r"the folder ~nosuchuser/x does not exist"):
        Bundle.load("~nosuchuser/x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["files"].pop("weights.safetensors"), r"lists no weights\.safetensors"),
        (lambda m: m["files"].update({"../secret": "0"}), "not a plain file name"),
        (lambda m: m.update(format="swinstream.bundle/9"), r"format: .*swinstream\.bundle/1"),
        (lambda m: m["spec"].update(colour="blue"), r"spec\.colour: Extra inputs"),
        (lambda m: m["spec"].update(ticks="many"), r"spec\.ticks: .*integer"),
        (lambda m: m.pop("spec"), "spec: Field required"),
    ],
)
def test_descriptions_that_cannot_be(change, message, bundle_folder):
    edit(bundle_folder, change)
    with pytest.raises(BundleError, match=message):
        Bundle.load(bundle_folder)


@pytest.mark.parametrize("text", ["a: [1,", "- a list\n", "", "\x00"])
def test_description_that_is_no_mapping(text, bundle_folder):
    (bundle_folder / "model.yaml").write_text(text)
    with pytest.raises(BundleError, match=r"model\.yaml (is not YAML|must hold a mapping)"):
        Bundle.load(bundle_folder)


def test_an_unlisted_file_is_refused(bundle_folder):
    (bundle_folder / ".DS_Store").touch()
    Bundle.load(bundle_folder)
    (bundle_folder / "network.int8.onnx").touch()
    with pytest.raises(BundleError, match=r"network\.int8\.onnx is not listed"):
        Bundle.load(bundle_folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {k: v[:3] for k, v in t.items()}, "holds 3 windows, at least 12"),
        (lambda t: t | {"logits": t["logits"][..., :3].copy()}, r"logits is float32 \[12, 4, 3\], expected .*12, 4, 5"),
        (lambda t: {k: v for k, v in t.items() if k != "state_0_c"}, "expected .*state_0_c"),
        (lambda t: t | {"flow": t["flow"][:-9].copy()}, "flow unpacks to .* bytes or more, expected"),
        (lambda t: t | {"picture": t["picture"][9:].copy()}, "picture cannot be unpacked"),
        (lambda t: t | {"picture": np.frombuffer(zlib.compress(bytes(10**7)), np.uint8)}, "picture unpacks to"),
    ],
)
def test_reference_of_another_model_is_refused(change, message, bundle_folder):
    path = bundle_folder / "parity.safetensors"
    save_file(change(load_file(path)), path)
    relist(bundle_folder, path.name)
    with pytest.raises(BundleError, match=rf"parity\.safetensors does not belong to model 'small': .*{message}"):
        Bundle.load(bundle_folder)


def test_a_reference_that_is_not_packed_is_read(bundle_folder):
    """As in bundles of before."""
    path = bundle_folder / "parity.safetensors"
    reference = Bundle.load(bundle_folder).reference()
    save_file(load_file(path) | {"picture": reference.picture, "flow": reference.flow}, path)
    relist(bundle_folder, path.name)
    again = Bundle.load(bundle_folder).reference()
    assert (again.picture == reference.picture).all()
    assert (again.flow == reference.flow).all()


@pytest.mark.parametrize("name", ["weights.safetensors", "parity.safetensors"])
def test_what_is_not_safetensors_is_named(name, bundle_folder):
    (bundle_folder / name).write_bytes(b"pickle")
    relist(bundle_folder, name)
    with pytest.raises(BundleError, match=name):
        Bundle.load(bundle_folder).weights_arrays()


def test_neither_name_nor_folder(tmp_path, monkeypatch, exported):
    with pytest.raises(BundleError, match=r"no model 'nowhere': it is not a shipped one .* does not exist"):
        Bundle.load("nowhere")
    with pytest.raises(BundleError, match=r"is not a model bundle: it has no model\.yaml"):
        Bundle.load(tmp_path)
    monkeypatch.setattr(bundle_module, "SHIPPED", exported.parent)
    assert shipped() == ["small"]
    assert Bundle.load("small").path == exported


def test_a_precision_that_is_not_there(exported):
    with pytest.raises(BundleError, match=r"has no network\.int8\.onnx, only fp32"):
        Bundle.load(exported).onnx("int8")


def save_again(bundle, path, **changes):
    parts = {
        "weights": bundle.weights_arrays(),
        "graphs": {"fp32": bundle.onnx()},
        "reference": bundle.reference(),
        "thresholds": {},
        "card": "again",
    }
    return save_bundle(path, bundle.spec, **(parts | changes))


def test_saving_replaces_the_whole_bundle_or_nothing(bundle_folder, tmp_path):
    bundle = Bundle.load(bundle_folder)
    before = bundle.fingerprint
    (bundle_folder / "notes.txt").write_text("of the old one")
    with pytest.raises(FileNotFoundError):
        save_again(bundle, bundle_folder, graphs={"fp32": tmp_path / "nothing.onnx"})
    assert bundle.fingerprint == before

    saved = save_again(bundle, bundle_folder)
    assert saved.fingerprint != before
    assert (bundle_folder / "card.md").read_text() == "again"
    assert not (bundle_folder / "notes.txt").exists()
    assert sorted(tmp_path.iterdir()) == [bundle_folder]
