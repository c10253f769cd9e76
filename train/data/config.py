"""What a training run is told of its data: where clips come from, how they are varied, and in which shares mixed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from engine.spec import Strict


class AugmentConfig(Strict):
    """How the view of each clip is varied.

    `strong`, for small data: crops, borders, mirror, light, colour, noise, blur, changing light and time stretch.
    `paper`: a random resized crop and a mirror, as Video Swin-CLSTM was trained. `off`: every clip as it is.
    """

    kind: Literal["strong", "paper", "off"] = "strong"
    crop_area: tuple[float, float] = Field((0.08, 1.0), description="paper: smallest and largest share of the picture")
    crop_aspect: tuple[float, float] = Field(
        (3 / 4, 4 / 3), description="paper: a crop's width to its height, over the picture's"
    )
    background: float = Field(
        0.0, ge=0, le=1, description="chance that another clip's scene surrounds the person; for static cameras"
    )

    @model_validator(mode="after")
    def _consistent(self) -> AugmentConfig:
        for name, (low, high) in (("crop_area", self.crop_area), ("crop_aspect", self.crop_aspect)):
            if not 0 < low <= high:
                raise ValueError(f"{name} must be two numbers above 0, the smaller first, not {low} and {high}")
        if self.crop_area[1] > 1:
            raise ValueError(f"crop_area is a share of the picture: at most 1, not {self.crop_area[1]}")
        return self


class DataConfig(Strict):
    """Where clips come from. A relative path is taken from SWINSTREAM_DATA, or ../shared/data beside the checkout."""

    root: str | None = Field(None, description="the clips, see layout; none: the drawn actor supplies every action")
    layout: Literal["folders", "ucf101", "csv"] = Field(
        "folders",
        description="folders: root has one folder of clips per label; ucf101: root is UCF-101 as published, with its "
        "lists; csv: root is a table with the columns path, label, start_s, end_s, group",
    )
    split: Literal[1, 2, 3] = Field(1, description="ucf101: which official split; its test list is validated on")
    exclude_groups: tuple[str, ...] = Field((), description="groups (subjects, cameras) never trained on")
    validate_groups: tuple[str, ...] = Field((), description="groups held out to measure on while training")
    validate_share: float = Field(
        0.0, ge=0, lt=1, description="share of each label's clips held out to measure on, whole groups"
    )
    validate_root: str | None = Field(None, description="other clips, laid out like root, to measure on")
    none_folders: tuple[str, ...] = Field((), description="folders below root whose clips are `none`, e.g. noFight")
    quiet: tuple[str, ...] = Field((), description="CSV files of timed segments whose quiet parts become `none`")
    quiet_clips: tuple[str, ...] = Field(
        (), description="videos, or folders of them, without any of the actions: `none`"
    )
    augment: AugmentConfig = AugmentConfig()
    cache: str | None = Field(
        "auto",
        description="folder for decoded clips, filled once; auto: in the user's cache folder; null: keep all in memory",
    )

    @model_validator(mode="after")
    def _consistent(self) -> DataConfig:
        ways = {
            "validate_groups": bool(self.validate_groups),
            "validate_share": bool(self.validate_share),
            "validate_root": self.validate_root is not None,
            "layout: ucf101": self.layout == "ucf101",
        }
        chosen = [name for name, given in ways.items() if given]
        if len(chosen) > 1:
            raise ValueError(f"clips to measure on come from one place, not from {' and '.join(chosen)}")
        if self.none_folders and self.layout != "folders":
            raise ValueError("none_folders belongs to layout: folders; a csv says `none` in its column label")
        return self


class MixConfig(Strict):
    """Shares of each source of segments; whatever is left is real clips of the actions."""

    drawn: float = Field(0.5, ge=0, le=1, description="share of sequences that the drawn actor supplies")
    none: float = Field(0.25, ge=0, lt=1, description="share of segments of a sequence in which nothing happens")
    none_clips: float = Field(
        0.0, ge=0, lt=1, description="share of segments that are clips of `none`, taken as those of an action are"
    )
    action_s: tuple[float, float] | None = Field(
        (1.5, 6.0), description="shortest and longest segment of a real clip; none: one clip fills the sequence"
    )
    freeze: float = Field(0.3, ge=0, le=1, description="chance that the person freezes where a clip ends, as `none`")

    @model_validator(mode="after")
    def _consistent(self) -> MixConfig:
        if self.none + self.none_clips > 1:
            raise ValueError(f"none and none_clips are shares of one whole, not {self.none} and {self.none_clips}")
        if self.action_s is not None and not 0 < self.action_s[0] <= self.action_s[1]:
            raise ValueError(f"action_s must be two times above 0, the shorter first, not {self.action_s}")
        return self
