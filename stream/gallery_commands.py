"""What each ``gallery`` action does. One function an action: (arguments, stop) -> exit code."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spade_core.gallery import Gallery
from spade_core.gallery_layout import MOTION, POOLED, THUMBNAILS, array_file
from spade_core.gallery_versions import Version, list_versions, prunable, prune, use_version
from stream import programs
from stream.config import build_config
from stream.config_sections import CameraSection
from stream.durable import write_durably
from stream.endless import is_endless
from stream.errors import StreamError, UsageError
from stream.gallery_store_commands import publish_folder
from stream.progress import Step, progress_bar, progress_reporter, tell_result
from stream.sources import check_source, describe_source
from stream.stopping import StopSignal


def info(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """What a gallery holds."""
    gallery = Gallery(arguments.gallery)
    found = {
        "folder": str(arguments.gallery),
        "version": gallery.version,
        "frames": len(gallery),
        "bytes": gallery.size_bytes,
        "bytes_of": _sizes(gallery),
        "calibration": gallery.calibration.to_json(),
        "note": gallery.manifest["note"],
        "fingerprint": gallery.fingerprint,
    }
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        for name, value in _lines(found):
            print(f"{name:36} {value}")
    if arguments.sheet is not None:
        from stream.sheet import contact_sheet

        write_durably(arguments.sheet, contact_sheet(gallery, arguments.sheet.suffix))
        print(f"contact sheet: {arguments.sheet}", file=sys.stderr)
    return 0


def verify(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Compares all checksums."""
    gallery = Gallery(arguments.gallery)
    with progress_bar("verify", unit="B", total=gallery.size_bytes, scaled=True) as bar:
        for _, done, _ in gallery.verify():
            bar.update(done - bar.n)
    print(
        f"{arguments.gallery}: {gallery.version} is intact ({len(gallery)} frames, {gallery.size_bytes / 1e6:.0f} MB)"
    )
    return 0


def versions(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Lists the versions. Exits 1 where one cannot be read."""
    found = list_versions(arguments.gallery)
    if arguments.json:
        print(json.dumps([_version_json(version) for version in found], indent=1))
    else:
        for version in found:
            print(_version_line(version))
    return 1 if any(version.fault for version in found) else 0


def use(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Puts another version in force."""
    publish = publish_folder(arguments, stop)
    with progress_reporter("verify", unit="B", form=arguments.progress, scaled=True) as tell:

        def on_progress(done: int, total: int) -> None:
            if stop():
                raise StreamError("stopped; the version in force is as it was")
            tell(Step("verify", done, total))

        gallery = use_version(arguments.gallery, arguments.version, on_progress=on_progress)
    publish(form=arguments.progress)
    if arguments.progress == "json":
        tell_result({"version": gallery.version, "frames": len(gallery)})
    print(f"{arguments.gallery}: {gallery.version} is in force ({len(gallery)} frames); {_RESTART}")
    return 0


def prune_versions(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Deletes old versions, or says which it would delete."""
    if arguments.dry_run:
        gone, verb = prunable(arguments.gallery, keep=arguments.keep), "would be freed"
    else:
        gone, verb = prune(arguments.gallery, keep=arguments.keep), "freed"
    for version in gone:
        print(_version_line(version))
    size = sum(version.size_bytes for version in gone)
    print(f"{arguments.gallery}: {len(gone)} version(s), {size / 1e6:.1f} MB {verb}")
    return 0


def add(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Adds frames that an operator calls normal."""
    from stream.engine import extractor_of  # loads torch, which the command line does without
    from stream.enroll import Progress
    from stream.gallery_add import AddSettings, add_frames
    from stream.replay import method_settings

    publish = publish_folder(arguments, stop)
    for source in arguments.source:
        check_source(source)
    gallery = Gallery(arguments.gallery)
    cameras = [_as_camera(arguments, number, source) for number, source in enumerate(arguments.source, start=1)]
    settings = method_settings(gallery, weights=arguments.weights, device=arguments.device)
    config = build_config({**settings, "cameras": cameras}, where="gallery add", base=Path.cwd(), environment={})
    for camera in config.cameras:
        if is_endless(camera) and camera.seconds is None:
            raise UsageError(f"{describe_source(camera.source)} has no end: say how much of it, with --seconds")
    with progress_bar("add", unit="frame") as bar:

        def on_progress(progress: Progress) -> None:
            if stop():
                raise StreamError("stopped; nothing was added")
            bar.total = progress.expected
            bar.set_postfix_str(progress.stage, refresh=False)
            bar.update(progress.frames - bar.n)

        after = add_frames(
            gallery,
            [_opener(camera) for camera in config.cameras],
            settings=AddSettings(fps=arguments.fps, capacity=arguments.capacity),
            extractor=extractor_of(config),
            note={"made": now(), "sources": [describe_source(source) for source in arguments.source]},
            on_progress=on_progress,
        )
    publish()
    print(
        f"{arguments.gallery}: {after.version}, {len(after)} frames ({len(after) - len(gallery)} added), "
        f"{after.size_bytes / 1e6:.0f} MB, thresholds as before; {_RESTART}\n"
        f"undo: spade-stream gallery use {arguments.gallery} {gallery.version}"
    )
    return 0


_RESTART = "a worker that runs takes it up when it is reloaded (SIGHUP) or started again"


def now() -> str:
    """The time for a manifest."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _opener(camera: CameraSection) -> Any:
    return lambda: programs.open_camera(camera)


def _as_camera(arguments: argparse.Namespace, number: int, source: str) -> dict[str, Any]:
    return {
        "id": f"source-{number}",
        "source": source,
        "fps": arguments.fps,
        "folder_fps": arguments.folder_fps,
        "start": arguments.start,
        "seconds": arguments.seconds,
    }


def _sizes(gallery: Gallery) -> dict[str, int]:
    """Bytes of each part of a version."""
    files = {name: int(entry["bytes"]) for name, entry in gallery.manifest["files"].items()}
    arrays = {array_file(name) for name in gallery.manifest.get("arrays", {})}
    return {
        "pooled": files[POOLED],
        "levels": sum(size for name, size in files.items() if name.startswith("level") and name.endswith(".f16")),
        "motion": files[MOTION],
        "thumbnails": files[THUMBNAILS],
        "arrays": sum(files[name] for name in arrays),
    }


def _version_line(version: Version) -> str:
    mark = "*" if version.in_force else " "
    size = f"{version.frames:6d} frames {version.size_bytes / 1e6:9.1f} MB"
    about = version.fault or ", ".join(_about(version))
    return f"{mark} {version.name}  {version.made:%Y-%m-%d %H:%M:%S} UTC  {size}  {about}".rstrip()


def _about(version: Version) -> Sequence[str]:
    note = version.note
    if "added" in note and "from" in note:
        sources = ", ".join(str(source) for source in note.get("sources", []))
        return [f"{note['added']} frame(s) added to {note['from']} from {sources}"]
    return [str(note[key]) for key in ("scene", "source") if key in note]


def _version_json(version: Version) -> dict[str, Any]:
    return {
        "version": version.name,
        "made": version.made.isoformat(),
        "frames": version.frames,
        "bytes": version.size_bytes,
        "in_force": version.in_force,
        "fault": version.fault or None,
        "note": version.note,
    }


def _lines(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _lines(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
