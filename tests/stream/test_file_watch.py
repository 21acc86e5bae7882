"""FileWatch: whether a file that others replace has changed."""

from __future__ import annotations

from pathlib import Path

from stream.durable import write_durably
from stream.file_watch import FileWatch


def test_a_file_counts_as_changed_once_and_again_when_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "orders.json"
    path.write_text("one")
    watch = FileWatch(path)

    assert [watch.changed(), watch.changed()] == [True, False]
    write_durably(path, b"two")
    assert [watch.changed(), watch.changed()] == [True, False]


def test_a_file_that_is_not_there_is_news_once_and_so_is_its_coming_and_going(tmp_path: Path) -> None:
    path = tmp_path / "orders.json"
    watch = FileWatch(path)

    assert [watch.changed(), watch.changed()] == [True, False]
    path.write_text("one")
    assert [watch.changed(), watch.changed()] == [True, False]
    path.unlink()
    assert [watch.changed(), watch.changed()] == [True, False]


def test_what_is_forgotten_is_news_again(tmp_path: Path) -> None:
    watch = FileWatch(tmp_path / "orders.json")
    watch.changed()

    watch.forget()

    assert watch.changed()
