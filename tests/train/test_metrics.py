from __future__ import annotations

from pathlib import Path

from train.metrics import COLUMNS, Metrics, read_metrics


def test_what_came_after_the_checkpoint_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss,accuracy,lr\n1,0.5,1,1\n2,0.4,1,1\n3,0.3,1,1\n4,0.2", encoding="utf-8")
    assert [row["step"] for row in read_metrics(path)] == ["1", "2", "3"]
    with Metrics(tmp_path, 2) as metrics:
        metrics.row(3, {"loss": 0.25, "validation_top1": 1.0})
    rows = read_metrics(path)
    assert [(row["step"], row["loss"], row["validation_top1"]) for row in rows] == [
        ("1", "0.5", ""),
        ("2", "0.4", ""),
        ("3", "0.25", "1"),
    ]
    assert tuple(rows[0]) == COLUMNS


def test_a_loss_is_written_to_its_last_digit(tmp_path: Path) -> None:
    loss = 1.614320516586303711  # a float32
    with Metrics(tmp_path, 0) as metrics:
        metrics.row(1, {"loss": loss})
    assert abs(float(read_metrics(tmp_path / "metrics.csv")[0]["loss"]) - loss) < 1e-8
