"""The synthetic campus: its script, its people, its pictures and their truth, its source and its video file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path as FilePath

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stream import campus
from stream.campus import CampusScene, EventKind, Script, ScriptedEvent, normal_script, random_script
from stream.campus.camera import CHEST, Camera
from stream.campus.layout import Layout
from stream.campus.mesh import box, ellipsoid, spoked_wheel
from stream.campus.path import Path
from stream.campus.pose import SOLE, WALK, on_foot
from stream.campus.raster import Light, Sprite, rasterise
from stream.campus.traffic import MOST_WALKERS, Traffic
from stream.campus.video import render_video
from stream.errors import UsageError
from stream.sources.base import Source
from stream.sources.campus import open_campus

SMALL = {"width": 320, "height": 180}
LIGHT = Light(np.array([0.0, 1.0, 0.0], np.float32))


def small_scene(script: Script, *, seed: int = 7, fps: float = 2.0) -> CampusScene:
    return CampusScene(seed=seed, fps=fps, script=script, **SMALL)


@pytest.fixture(scope="module")
def test_scene() -> CampusScene:
    return small_scene(campus.test_script(walk_seed=3))


@pytest.fixture(scope="module")
def plain_scene() -> CampusScene:
    """The same place, people and light without the events."""
    return small_scene(normal_script(70.0, 3))


def level_camera() -> Camera:
    return Camera.mounted(width=200, height=100, mast=2.0, pitch=0.0, yaw=0.0)


class TestScript:
    def test_the_test_script_shows_each_kind_once_with_six_quiet_seconds_round_it(self) -> None:
        script = campus.test_script()
        assert [event.kind for event in script.events] == list(EventKind)
        assert script.duration == 70.0
        edges = [0.0, *(edge for event in script.events for edge in (event.start, event.end)), 70.0]
        quiet = [after - before for before, after in list(pairwise(edges))[::2]]
        assert quiet == pytest.approx([8.6] * 5)  # 70 s less 4.5 + 6 + 4.5 + 12 s of events, in five parts

    def test_a_test_script_too_short_for_its_quiet_spans_is_refused(self) -> None:
        assert campus.test_script(duration=57.0).events[0].start == pytest.approx(6.0)
        with pytest.raises(UsageError, match=r"56\.9 s.*57 s"):
            campus.test_script(duration=56.9)

    @pytest.mark.parametrize(("start", "end"), [(5.0, 8.9), (-1.0, 9.0), (0.0, math.inf), (math.nan, 9.0)])
    def test_an_event_at_impossible_times_is_refused(self, start: float, end: float) -> None:
        with pytest.raises(UsageError, match="cart from"):
            ScriptedEvent(EventKind.CART, start, end)

    def test_an_event_beyond_the_end_is_refused(self) -> None:
        with pytest.raises(UsageError, match=r"after the script's 10\.0 s"):
            Script(10.0, events=(ScriptedEvent(EventKind.BAG, 5.0, 11.0),))

    def test_an_endless_random_script_has_one_event_in_each_span_however_it_is_asked(self) -> None:
        script = random_script(None, 5, every=40.0)
        events = script.events_between(0.0, 399.9)
        assert [int(event.start // 40) for event in events] == list(range(10))
        assert all(event.start % 40 >= 6.0 and event.end % 40 <= 34.0 for event in events)
        assert len({event.kind for event in events}) > 1
        assert script.events_between(events[7].start, events[7].start) == (events[7],)
        assert script.events_between(events[7].end + 1, events[7].end + 2) == ()

    def test_a_finite_random_script_is_the_beginning_of_the_endless_one(self) -> None:
        endless = random_script(None, 5, every=40.0)
        assert random_script(120.0, 5, every=40.0).events == endless.events_between(0.0, 119.9)

    def test_random_events_closer_than_half_a_minute_are_refused(self) -> None:
        with pytest.raises(UsageError, match=r"every is 20\.0 s"):
            random_script(None, every=20.0)


class TestCamera:
    def test_a_point_on_the_axis_is_in_the_middle(self) -> None:
        assert level_camera().project(np.array([0, 2, 10], np.float32)).tolist() == pytest.approx([100, 50, 10])

    def test_a_metre_at_ten_metres_is_a_tenth_of_the_focal_length(self) -> None:
        right_and_up = level_camera().project(np.array([1, 3, 10], np.float32)).tolist()
        assert right_and_up == pytest.approx([118, 32, 10])  # focal length 0.9 x 200 pixels

    def test_a_lane_ends_at_the_edges_of_the_picture(self) -> None:
        camera = Camera.mounted(width=640, height=360, mast=5.0, pitch=0.34, yaw=0.12)
        ends = np.array([[x, CHEST, 13.0] for x in camera.lane_span(13.0, 0.0)], np.float32)
        assert camera.project(ends)[:, 0].tolist() == pytest.approx([0, 640], abs=0.01)


class TestPath:
    def test_it_is_where_its_speed_has_brought_it(self) -> None:
        path = Path.steady(10.0, 2.0, [(0, 0), (4, 0), (4, 6)])
        assert (path.start, path.end) == (10.0, 15.0)
        on_first, on_second = path.at(11.0), path.at(14.0)
        assert (on_first.x, on_first.z, on_first.heading, on_first.speed) == pytest.approx((2, 0, 0, 2))
        assert (on_second.x, on_second.z, on_second.heading, on_second.distance) == pytest.approx(
            (4, 4, math.pi / 2, 8)
        )

    def test_who_rests_has_no_speed_and_looks_on(self) -> None:
        path = Path([0, 2, 6, 8], [(0, 0), (2, 0), (2, 0), (0, 0)])
        resting = path.at(4.0)
        assert (resting.speed, resting.heading, resting.distance) == (0.0, 0.0, 2.0)


class TestPose:
    @pytest.mark.parametrize("phase", [0.0, 1.0, 2.5, 4.0])
    def test_the_lower_foot_of_a_walker_is_on_the_ground(self, phase: float) -> None:
        pose = on_foot(1.8, WALK, phase)
        assert float(pose.ankles[:, 1].min()) == pytest.approx(SOLE * 1.8, abs=1e-4)

    def test_bones_keep_their_length(self) -> None:
        thighs = [np.linalg.norm(p.knees - p.hips, axis=1) for p in (on_foot(1.8, WALK, a) for a in (0.0, 1.0, 2.0))]
        assert np.stack(thighs) == pytest.approx(np.full((3, 2), 0.245 * 1.8), abs=1e-4)


class TestTraffic:
    def test_people_are_nearly_always_about_and_never_a_crowd(self) -> None:
        layout = Layout.of(7, width=640, height=360)
        counts = [len(Traffic(layout, seed).at(time)) for seed in range(3) for time in np.arange(0, 120, 2.0).tolist()]
        assert max(counts) <= MOST_WALKERS
        assert np.mean(np.array(counts) >= 1) > 0.98
        assert len(set(counts)) >= 4

    def test_who_is_about_does_not_depend_on_what_was_asked_before(self) -> None:
        layout = Layout.of(7, width=640, height=360)
        fresh, used = Traffic(layout, 1), Traffic(layout, 1)
        for time in (0.0, 1000.0, 40.0):
            used.at(time)
        assert [w.path.start for w in used.at(95.0)] == [w.path.start for w in fresh.at(95.0)]

    def test_another_walk_seed_sends_other_people(self) -> None:
        layout = Layout.of(7, width=640, height=360)
        assert {w.look for w in Traffic(layout, 1).at(9.0)}.isdisjoint({w.look for w in Traffic(layout, 2).at(9.0)})


class TestRaster:
    def test_a_box_covers_the_pixels_that_the_projection_says(self) -> None:
        # 2 m wide and high, its front 9 m away: 40 pixels, from column 80 to 120 and up from row 90 to 50.
        solid = box((-1, 0, -1), (1, 2, 1), (200, 200, 200)).placed(0, 10, 0.0)
        sprite = rasterise(solid, level_camera(), LIGHT)
        assert sprite is not None
        rows, columns = np.nonzero(sprite.alpha >= 128)
        assert (sprite.x + columns.min(), sprite.x + columns.max()) == pytest.approx((80, 119), abs=1)
        assert (sprite.y + rows.min(), sprite.y + rows.max()) == pytest.approx((50, 89), abs=1)

    def test_what_is_nearer_hides_what_is_behind(self) -> None:
        near = box((-1, 0, -1), (1, 2, 1), (0, 0, 200)).placed(0, 10, 0.0)
        far = ellipsoid(np.array([0, 1, 0], np.float32), (0.5, 0.5, 0.5), (200, 0, 0)).placed(0, 20, 0.0)
        frame, mask = np.zeros((100, 200, 3), np.uint8), np.zeros((100, 200), np.uint8)
        for solid, anomalous in ((far, True), (near, False)):
            sprite = rasterise(solid, level_camera(), LIGHT)
            assert sprite is not None
            sprite.over(frame, mask, anomalous=anomalous)
            assert mask.any() == anomalous
        assert frame[70, 100, 0] == 0

    def test_a_half_covered_pixel_is_half_of_each(self) -> None:
        half = np.full((1, 1), 128, np.uint8)
        frame, mask = np.full((1, 1, 3), 100, np.uint8), np.full((1, 1), 255, np.uint8)
        Sprite(0, 0, np.full((1, 1, 3), 60, np.uint8), half, half).over(frame, mask)
        assert frame.ravel().tolist() == [110, 110, 110]  # 100 x 127/255 + 60
        assert mask.item() == 127

    def test_the_disc_of_a_spoked_wheel_belongs_to_the_object_but_is_seen_through(self) -> None:
        camera = Camera.mounted(width=640, height=360, mast=2.0, pitch=0.0, yaw=0.0)
        wheel = spoked_wheel((0, 0.34, 0), 0.34, 0.13, (20, 20, 20), (170, 170, 170)).placed(0, 8, 0.0)
        sprite = rasterise(wheel, camera, LIGHT)
        assert sprite is not None
        radius = (0.34 + 0.022) * 576 / 8  # to the outside of the tyre, pixels
        assert np.count_nonzero(sprite.extent >= 128) == pytest.approx(math.pi * radius**2, rel=0.05)
        assert np.count_nonzero(sprite.alpha >= 128) < 0.5 * np.count_nonzero(sprite.extent >= 128)

    def test_what_is_out_of_the_picture_is_nothing(self) -> None:
        assert rasterise(box((0, 0, 0), (1, 1, 1), (9, 9, 9)).placed(50, 10, 0.0), level_camera(), LIGHT) is None
        assert rasterise(box((0, 0, 0), (1, 1, 1), (9, 9, 9)).placed(0, -10, 0.0), level_camera(), LIGHT) is None


class TestScene:
    def test_a_frame_is_the_same_on_every_call_in_any_order(self, test_scene: CampusScene) -> None:
        other = small_scene(campus.test_script(walk_seed=3))
        indices = (20, 105, 47)  # normal, the bag, the cart
        for index, (picture, truth) in zip(indices, [test_scene.render(i) for i in indices], strict=True):
            assert np.array_equal(other.render(index)[0], picture)
            assert np.array_equal(other.render(index)[1], truth)
        assert np.array_equal(test_scene.render(20)[0], other.render(20)[0])

    def test_each_frame_has_its_own_noise(self) -> None:
        scene = small_scene(normal_script(None, 3), fps=100.0)
        change = cv2.absdiff(scene.render(0)[0], scene.render(1)[0])
        assert 1.0 < change.mean() < 5.0

    def test_one_seed_is_one_place_whoever_walks_there(self) -> None:
        def empty(seed: int, walk_seed: int) -> NDArray[np.float64]:
            scene = small_scene(normal_script(None, walk_seed), seed=seed)
            return np.median([scene.render(i)[0] for i in range(0, 90, 10)], axis=0)

        here = empty(7, 1)
        same, other = (np.abs(here - empty(*seeds)).mean() for seeds in ((7, 2), (8, 1)))
        assert same < 8.0  # the light differs
        assert other > 2 * same

    def test_truth_is_there_while_an_event_lasts_and_at_no_other_time(self, test_scene: CampusScene) -> None:
        assert test_scene.frame_count == 140
        entering = 0.5  # seconds that a crossing object needs to reach the picture and to leave it
        for index in range(140):
            time, anomalous = index / test_scene.fps, bool(test_scene.render(index)[1].any())
            if not test_scene.script.events_between(time, time):
                assert not anomalous, f"truth at {time} s, outside every event"
            if any(event.start + entering <= time < event.end - entering for event in test_scene.script.events):
                assert anomalous, f"no truth at {time} s, within an event"

    def test_normal_footage_has_no_truth(self, plain_scene: CampusScene) -> None:
        assert not any(plain_scene.render(index)[1].any() for index in range(0, 140, 7))

    @pytest.mark.parametrize("event", campus.test_script(walk_seed=3).events, ids=lambda event: str(event.kind))
    def test_truth_lies_on_the_object_and_not_on_its_shadow(
        self, event: ScriptedEvent, test_scene: CampusScene, plain_scene: CampusScene
    ) -> None:
        index = round((event.start + event.end) / 2 * test_scene.fps)
        picture, truth = test_scene.render(index)
        plain = plain_scene.render(index)[0]
        assert set(np.unique(truth)) == {0, 255}
        # Same seeds, same noise: whatever differs is the object, its soft edge, its shadow, and the owner of a bag.
        change = cv2.absdiff(picture, plain).max(axis=2)
        outside = cv2.dilate(truth, np.ones((3, 3), np.uint8)) == 0
        assert change[truth > 0].mean() > 30
        assert change[outside].mean() < 1
        darker = plain.astype(int).sum(axis=2) - picture.astype(int).sum(axis=2) > 60
        assert np.count_nonzero(darker & outside) > 10  # the shadow is there, and it is outside

    def test_the_truth_of_a_larger_picture_is_larger_in_proportion(self, test_scene: CampusScene) -> None:
        large = CampusScene(seed=7, width=640, height=360, fps=2.0, script=test_scene.script)
        index = 49  # the cart
        areas = [np.count_nonzero(scene.render(index)[1]) for scene in (test_scene, large)]
        assert areas[1] == pytest.approx(4 * areas[0], rel=0.1)
        assert areas[0] > 300

    def test_a_window_longer_than_one_crossing_is_filled_by_going_to_and_fro(self) -> None:
        scene = small_scene(Script(30.0, events=(ScriptedEvent(EventKind.CYCLIST, 2.0, 26.0),)))
        columns = [np.nonzero(scene.render(i)[1])[1] for i in range(4, 52)]
        middles = [int(c.mean()) for c in columns if len(c)]
        assert len(middles) > 36
        turns = np.count_nonzero(np.diff(np.sign(np.diff(middles))))
        assert turns >= 4

    @pytest.mark.parametrize("index", [-1, 140])
    def test_a_frame_that_is_not_there_is_refused(self, test_scene: CampusScene, index: int) -> None:
        with pytest.raises(IndexError, match=f"frame {index} of a scene with 140 frames"):
            test_scene.render(index)

    @pytest.mark.parametrize(
        ("options", "named"), [({"width": 20}, "20x180"), ({"fps": 0.0}, r"fps is 0\.0"), ({"seed": -1}, "seed is -1")]
    )
    def test_impossible_arguments_are_refused(self, options: dict[str, float], named: str) -> None:
        arguments = {"seed": 1, **SMALL, **options}
        with pytest.raises(UsageError, match=named):
            CampusScene(script=normal_script(1.0), **arguments)  # type: ignore[arg-type]


class TestSource:
    def test_a_finite_source_gives_exactly_its_frames(self) -> None:
        source = open_campus({"size": "160x90", "duration": "1.2", "fps": "5", "seed": "9"})
        assert isinstance(source, Source)
        info = source.info
        assert (info.width, info.height, info.fps, info.frame_count, info.live) == (160, 90, 5.0, 6, False)
        frames = list(source.frames())
        assert [frame.index for frame in frames] == list(range(6))
        assert [frame.media_time for frame in frames] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
        assert all(frame.image.shape == (90, 160, 3) and frame.image.dtype == np.uint8 for frame in frames)

    def test_without_a_duration_it_is_endless(self) -> None:
        source = open_campus({"size": "64x64"})
        assert source.info.frame_count is None
        assert len(list(islice(source.frames(), 3))) == 3

    def test_closing_ends_the_frames(self) -> None:
        source = open_campus({"size": "64x64"})
        frames: Iterator[object] = source.frames()
        next(frames)
        source.close()
        source.close()
        assert list(frames) == []

    def test_it_tells_the_truth_of_each_frame(self) -> None:
        source = open_campus({"size": "160x90", "fps": "1", "events": "test", "walk_seed": "3"})
        assert source.info.frame_count == 70
        bag = source.scene.script.events[-1]
        assert source.truth(int(bag.start + 4)).any()
        assert not source.truth(0).any()

    def test_random_events_come_as_often_as_asked(self) -> None:
        source = open_campus({"size": "64x64", "events": "random", "every": "30"})
        assert len(source.scene.script.events_between(0, 299)) == 10

    @pytest.mark.parametrize(
        ("key", "value", "allowed"),
        [
            ("seed", "-1", "a whole number"),
            ("walk_seed", "9999999999", "4294967295"),
            ("fps", "0", r"0\.1\.\.120"),
            ("fps", "nan", r"0\.1\.\.120"),
            ("size", "640x361", "both even"),
            ("size", "640", "WIDTHxHEIGHT"),
            ("size", "32x32", r"64\.\.3840"),
            ("duration", "long", "seconds"),
            ("duration", "inf", "seconds"),
            ("events", "all", "none, test, random"),
            ("every", "5", r"30\.\."),
        ],
    )
    def test_a_value_that_cannot_be_used_is_named_with_its_key_and_what_is_allowed(
        self, key: str, value: str, allowed: str
    ) -> None:
        with pytest.raises(UsageError, match=f"{key}='{value}'.*{allowed}"):
            open_campus({key: value})

    def test_an_unknown_key_is_named_with_the_known_ones(self) -> None:
        with pytest.raises(UsageError, match=r"'sead'.*seed, walk_seed, fps, size, duration, events, every"):
            open_campus({"sead": "1"})

    def test_a_duration_too_short_for_the_test_events_is_refused(self) -> None:
        with pytest.raises(UsageError, match=r"30\.0 s"):
            open_campus({"events": "test", "duration": "30"})


class TestVideo:
    def test_it_decodes_to_the_frames_that_were_rendered(self, test_scene: CampusScene, tmp_path: FilePath) -> None:
        truths: dict[int, bool] = {}
        progress: list[tuple[int, int]] = []
        file = tmp_path / "walk.mp4"
        render_video(
            test_scene,
            file,
            start=14,
            count=8,
            on_frame=lambda index, truth: truths.update({index: bool(truth.any())}),
            on_progress=lambda done, total: progress.append((done, total)),
        )
        with av.open(file) as container:
            video = container.streams.video[0]
            assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
            assert float(video.average_rate or 0) == 2.0
            pictures = [frame.to_ndarray(format="bgr24") for frame in container.decode(video)]
        assert len(pictures) == 8
        assert truths == {index: bool(test_scene.render(index)[1].any()) for index in range(14, 22)}
        assert len(set(truths.values())) == 2  # the cyclist comes within these frames
        assert progress == [(done, 8) for done in range(1, 9)]
        assert cv2.absdiff(pictures[5], test_scene.render(19)[0]).mean() < 8
        assert [path.name for path in tmp_path.iterdir()] == ["walk.mp4"]
        head = file.read_bytes()
        assert head.index(b"moov") < head.index(b"mdat")  # the index comes first: it plays while it is fetched

    def test_an_error_leaves_the_old_file_and_nothing_else(self, test_scene: CampusScene, tmp_path: FilePath) -> None:
        file = tmp_path / "walk.mp4"
        file.write_bytes(b"old")

        def stop(done: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            render_video(test_scene, file, count=3, on_progress=stop)
        assert file.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [file]

    @pytest.mark.parametrize(("start", "count"), [(139, 2), (-1, 2), (0, 0)])
    def test_frames_that_are_not_there_are_refused_before_anything_is_written(
        self, test_scene: CampusScene, tmp_path: FilePath, start: int, count: int
    ) -> None:
        with pytest.raises(UsageError, match="frame"):
            render_video(test_scene, tmp_path / "walk.mp4", start=start, count=count)
        assert list(tmp_path.iterdir()) == []

    def test_odd_sides_are_refused(self, tmp_path: FilePath) -> None:
        scene = CampusScene(seed=1, width=65, height=64, script=normal_script(1.0))
        with pytest.raises(UsageError, match=r"65x64.*even"):
            render_video(scene, tmp_path / "walk.mp4", count=1)
