"""Summary of the preprocessing of a dataset folder, for the user."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from etram_mmdet.events.preprocessing.plausibility.frames import differing_rates
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.events.preprocessing.source_changes import has_digests


class Outcome(NamedTuple):
    """Result for one recording: a manifest, a problem, or the process that makes it now.

    Attributes:
        name: ``SPLIT/NAME`` of the recording.
        manifest: content of its ``sequence.json``; ``None`` if there is none.
        is_new: whether the folder was made now; else it was found finished.
        problem: why it could not be used.
        changed: label files whose change made a finished folder obsolete.
        maker: process that makes the folder now.
        left_out: why RVT's rules leave this recording out.
    """

    name: str
    manifest: dict | None = None
    is_new: bool = False
    problem: str | None = None
    changed: tuple[str, ...] = ()
    maker: str | None = None
    left_out: str | None = None


@dataclass
class PreprocessSummary:
    """Results of all recordings; ``str()`` gives the text for the user.

    Args:
        outcomes: one result per recording.
        problems: one sentence per problem. Default: none.
        notes: further sentences for the user. Default: none.
        unfinished: lines about shards and recordings that are not finished. Default: none.
    """

    outcomes: list[Outcome]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)

    @property
    def manifests(self) -> list[dict]:
        """Manifests of all finished recordings, in the order of ``outcomes``."""
        return [outcome.manifest for outcome in self.outcomes if outcome.manifest is not None]

    @property
    def dropped(self) -> Counter:
        """Number of dropped events and boxes by rule, over all finished recordings."""
        return sum((Counter(manifest["dropped"]) for manifest in self.manifests), Counter())

    def __str__(self) -> str:
        num_new = sum(outcome.is_new for outcome in self.outcomes)
        rules = Counter(manifest["frame_rule"] for manifest in self.manifests)
        corrected = sum(manifest["stamps_corrected"] for manifest in self.manifests)
        lines = [
            f"{num_new} recordings preprocessed, {len(self.manifests) - num_new} were finished "
            f"before, {len(self.problems)} problems",
            f"frames: {self._total('num_frames')}, "
            f"representations: {self._total('num_representations')}, "
            f"events: {self._total('num_events')}, frame rule: {_told_counts(rules)}",
            f"dropped: {_told_counts(self.dropped)}; time stamps corrected: {corrected}",
        ]
        lines += self._told_of_classes()
        left_out = sum(
            manifest.get("events_left_out_by_downsample", 0) for manifest in self.manifests
        )
        if left_out:
            shown = sum(manifest.get("events_in_frames", 0) for manifest in self.manifests)
            ways = ", ".join(
                sorted({str(m["representation"].get("downsample", "none")) for m in self.manifests})
            )
            lines.append(
                f"downsample {ways} leaves out {left_out:,} of the {shown:,} events in frames "
                f"({left_out / shown:.0%})" + "; sum keeps them" * ("nearest" in ways)
            )
        lines += self._told_of_sources()
        found = Counter(
            sentence for manifest in self.manifests for sentence in manifest.get("labels_found", [])
        )
        lines += [
            f"labels of {count} recordings: {sentence}" for sentence, count in sorted(found.items())
        ]
        cut = sum(manifest.get("boxes_cut", 0) for manifest in self.manifests)
        if cut:
            lines.append(f"boxes cut to the sensor: {cut}")
        empty = sum(manifest["frames_without_events"] for manifest in self.manifests)
        if empty:
            lines.append(
                f"frames whose window holds no event: {empty} (perhaps labels outside the "
                "recording)"
            )
        assumed = [
            f"{manifest['width']}x{manifest['height']} for "
            f"{manifest['split']}/{manifest['recording']}"
            for manifest in self.manifests
            if manifest["sensor_size_is_assumed"]
        ]
        if assumed:
            lines.append(f"sensor size not in the file, taken as {', '.join(assumed)}")
        sizes = {(manifest["width"], manifest["height"]) for manifest in self.manifests}
        if assumed and len(sizes) > 1:
            listed = ", ".join(f"{width}x{height}" for width, height in sorted(sizes))
            lines.append(
                f"WARNING recordings have sensors of {listed}, but a data set needs one size; if "
                "they come from one camera, give its size: --sensor WIDTH HEIGHT --overwrite"
            )
        rates = differing_rates(
            (f"{m['split']}/{m['recording']}", m.get("frames_per_s")) for m in self.manifests
        )
        lines += [f"WARNING {rates}"] if rates else []
        for manifest in self.manifests:
            name = f"{manifest['split']}/{manifest['recording']}"
            lines += [
                f"kept although implausible: {name}: {doubt}"
                for doubt in manifest.get("implausible", [])
            ]
            lines += [f"NOTE {name}: {note}" for note in manifest.get("recording_notes", [])]
        left_out = [outcome.left_out for outcome in self.outcomes if outcome.left_out]
        if left_out:
            lines.append(
                f"recordings without a usable box, left out as in RVT: {len(left_out)}\n  "
                + "\n  ".join(left_out)
            )
        lines += [f"NOTE {note}" for note in self.notes]
        lines += self.unfinished
        return "\n".join(lines + [f"PROBLEM {problem}" for problem in self.problems])

    def _told_of_classes(self) -> list[str]:
        """Number of boxes per class, with its name if that is known."""
        counts = Counter()
        for manifest in self.manifests:
            names = manifest.get("class_names", {})
            for key, number in manifest.get("boxes_per_class_id", {}).items():
                counts[names.get(key, f"id {key}")] += number
        unnamed = any(name.startswith("id ") for name in counts)
        advice = (
            " (training maps ids to classes by its class_set; preprocess with --class-set to store "
            "their names)"
            if unnamed
            else ""
        )
        return [f"boxes: {_told_counts(counts)}{advice}"] if counts else []

    def _told_of_sources(self) -> list[str]:
        lines = []
        renewed = [
            f"{outcome.name} ({', '.join(outcome.changed)})"
            for outcome in self.outcomes
            if outcome.changed
        ]
        if renewed:
            lines.append(
                f"{len(renewed)} recordings were preprocessed again because their labels changed: "
                f"{', '.join(renewed)}"
            )
        old = sum(not has_digests(manifest) for manifest in self.manifests)
        if old:
            lines.append(
                f"{old} were made by an earlier version, which stored only file sizes, so a "
                "changed file of equal size is not noticed; pass --overwrite to make them again"
            )
        return lines

    def _total(self, key: str) -> int:
        return sum(manifest[key] for manifest in self.manifests)


def _told_counts(counts: Counter) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "nothing"


def nothing_left(src: Path, settings: PreprocessSettings) -> str:
    """Sentence for a dataset folder from which RVT's rules leave out every recording.

    Args:
        src: the dataset folder.
        settings: how recordings become frames.
    """
    return (
        f"{src}: the filters of --preset {settings.preset} leave no box in any recording; "
        "choose another preset"
    )
