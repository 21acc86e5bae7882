"""Key files: private from the first byte, never overwritten, refused where others can read them, and never shown."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from stream import key_making
from stream.cli import main
from stream.errors import KeyFileError
from stream.key_making import authorise, issue, let_in_only, make_folder, revoke
from stream.keys import Role, access_stamp, check_folder, load_folder, load_local, load_secret


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A server's keys, with a key each for camera gate and subscriber ops."""
    made = tmp_path / "keys"
    make_folder(made)
    issue(made, Role.READER, ["gate"])
    issue(made, Role.SUBSCRIBER, ["ops"])
    return made


@pytest.fixture
def careless() -> Iterator[None]:
    """A umask that keeps nothing private by itself."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def secrets_of(folder: Path) -> list[str]:
    return [json.loads(file.read_text())["secret"] for file in folder.rglob("*.key")]


@pytest.mark.usefixtures("careless")
def test_secrets_and_folders_are_private_whatever_the_umask(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    make_folder(folder)
    issued = issue(folder, Role.READER, ["gate"])
    carried = issue(folder, Role.READER, ["yard"], out=tmp_path / "yard.key")

    assert {mode(file) for file in (folder / "server.key", folder / "local.key", issued, carried)} == {0o600}
    assert {mode(path) for path in (folder, *folder.iterdir()) if path.is_dir()} == {0o700}


@pytest.mark.usefixtures("careless")
def test_a_secret_is_private_before_anything_is_written_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode)))
    real = key_making.os.open
    made: dict[str, int] = {}

    def watched(path: Path, flags: int, *rest: int) -> int:
        descriptor = real(path, flags, *rest)
        made[Path(path).name] = stat.S_IMODE(os.fstat(descriptor).st_mode)
        return descriptor

    monkeypatch.setattr(key_making.os, "open", watched)
    make_folder(tmp_path / "keys")

    assert (made["server.key"], made["local.key"]) == (0o600, 0o600)
    assert 0o600 in seen  # and it is on the disk before anybody is told of it


def test_making_a_folder_again_changes_nothing(folder: Path) -> None:
    before = {file: file.read_bytes() for file in folder.rglob("*.*")}

    assert make_folder(folder) is False
    assert {file: file.read_bytes() for file in folder.rglob("*.*")} == before


def test_an_issued_key_carries_its_own_pair_and_the_servers_public_half(folder: Path) -> None:
    key, server = load_secret(folder / "issued" / "gate.key"), load_folder(folder).server

    assert (key.role, key.names, key.server) == (Role.READER, ("gate",), server.public)
    assert zmq.curve_public(key.secret.encode()).decode() == key.public
    assert load_folder(folder).access.readers == {key.public: frozenset({"gate"})}
    assert server.secret not in (folder / "issued" / "gate.key").read_text()


def test_one_key_may_be_several_cameras(folder: Path) -> None:
    key = load_secret(issue(folder, Role.READER, ["north", "south"]))

    assert load_folder(folder).access.readers[key.public] == {"north", "south"}


def test_a_name_gets_no_second_key_and_no_file_is_overwritten(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="--revoke gate"):
        issue(folder, Role.READER, ["gate"])
    taken = tmp_path / "taken"
    taken.write_text("precious")
    with pytest.raises(KeyFileError, match="never overwritten"):
        issue(folder, Role.READER, ["yard"], out=taken)

    assert taken.read_text() == "precious"
    assert "yard" not in str(load_folder(folder).access)


def test_a_link_in_the_place_of_a_new_key_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError):
        issue(folder, Role.READER, ["yard"], out=tmp_path / "link")

    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["", "../gate", "a/b", ".hidden", "-x", "a" * 65, "a\nb", "ü"])
def test_only_names_that_cameras_may_have_become_files(folder: Path, name: str) -> None:
    with pytest.raises(KeyFileError):
        issue(folder, Role.READER, [name])
    with pytest.raises(KeyFileError):
        revoke(folder, name)


def test_a_public_key_made_elsewhere_is_let_in(folder: Path) -> None:
    public = zmq.curve_keypair()[0].decode()
    authorise(folder, Role.SUBSCRIBER, ["archive"], public)

    assert load_folder(folder).access.subscribers[public] == {"archive"}
    assert not (folder / "issued" / "archive.key").exists()
    with pytest.raises(KeyFileError, match="40 characters"):
        authorise(folder, Role.SUBSCRIBER, ["other"], public[:-1])


def test_revoking_takes_the_access_and_the_issued_file(folder: Path) -> None:
    before = access_stamp(folder)
    removed = revoke(folder, "gate")

    assert [file.name for file in removed] == ["gate.pub", "gate.key"]
    assert load_folder(folder).access.readers == {}
    assert access_stamp(folder) != before
    with pytest.raises(KeyFileError, match="nobody"):
        revoke(folder, "gate")


def test_revoking_one_camera_of_a_key_leaves_the_others(folder: Path) -> None:
    file = issue(folder, Role.READER, ["north", "south"])
    revoke(folder, "north")

    assert load_folder(folder).access.readers[load_secret(file).public] == {"south"}
    revoke(folder, "south")
    assert not file.exists()


@pytest.mark.parametrize(
    ("name", "open_mode", "remedy"),
    [
        (".", 0o750, "chmod 700"),
        (".", 0o701, "chmod 700"),
        ("server.key", 0o640, "chmod 600"),
        ("local.key", 0o604, "chmod 600"),
    ],
)
def test_keys_that_others_can_read_are_refused_with_the_remedy(
    folder: Path, name: str, open_mode: int, remedy: str
) -> None:
    (folder / name).chmod(open_mode)

    with pytest.raises(KeyFileError, match=remedy):
        load_folder(folder)


@pytest.mark.parametrize("name", ["server.key", "local.key", "readers", "subscribers"])
def test_a_folder_with_something_missing_is_refused(folder: Path, name: str) -> None:
    (folder / name).rename(folder / "gone")

    with pytest.raises(KeyFileError, match=name):
        check_folder(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04\x95",
        b"[]",
        b"[" * 60_000,
        b'{"format": "spade-stream/public-key/1"}',
        b'{"format": "spade-stream/secret-key/1", "role": "server"}',
    ],
)
def test_a_malformed_secret_is_refused(folder: Path, content: bytes) -> None:
    (folder / "server.key").write_bytes(content)

    with pytest.raises(KeyFileError, match=r"server\.key"):
        load_folder(folder)


@pytest.mark.parametrize("field", ["public", "secret", "names", "role"])
def test_a_key_whose_parts_do_not_belong_together_is_refused_and_not_shown(folder: Path, field: str) -> None:
    file = folder / "issued" / "gate.key"
    data = json.loads(file.read_text())
    other = json.loads((folder / "local.key").read_text())
    file.write_text(json.dumps({**data, field: other[field]}))

    with pytest.raises(KeyFileError) as caught:
        load_secret(file)
    assert not any(secret in str(caught.value) for secret in secrets_of(folder))


def test_keys_of_two_folders_cannot_be_mixed(folder: Path, tmp_path: Path) -> None:
    make_folder(tmp_path / "other")
    (folder / "local.key").unlink()
    (tmp_path / "other" / "local.key").rename(folder / "local.key")

    with pytest.raises(KeyFileError, match="not the local key of this folder"):
        load_folder(folder)


@pytest.mark.parametrize("change", [{"name": "yard"}, {"role": "subscriber"}, {"public": "x"}, {"format": "z"}])
def test_a_public_key_file_that_says_something_else_than_its_place_is_refused(
    folder: Path, change: dict[str, str]
) -> None:
    file = folder / "readers" / "gate.pub"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))

    with pytest.raises(KeyFileError, match=r"gate\.pub"):
        check_folder(folder)


def test_a_damaged_public_key_lets_nobody_in_and_does_not_keep_a_server_from_starting(folder: Path) -> None:
    (folder / "readers" / "gate.pub").write_text("damaged")
    access = load_folder(folder).access

    assert access.readers == {}
    assert set(*access.subscribers.values()) == {"ops"}
    assert [problem.split(":")[0] for problem in access.problems] == [str(folder / "readers" / "gate.pub")]


def test_what_cannot_be_looked_at_hides_no_change(folder: Path) -> None:
    dangling = folder / "readers" / "old.pub"
    before = access_stamp(folder)
    dangling.symlink_to(folder / "gone")
    with_it = access_stamp(folder)
    (folder / "readers" / "gate.pub").unlink()

    assert len({before, with_it, access_stamp(folder)}) == 3
    (folder / "readers").rename(folder / "moved")
    without = access_stamp(folder)
    (folder / "readers").mkdir()
    assert access_stamp(folder) != without


def test_a_link_counts_with_what_it_leads_to(folder: Path) -> None:
    file = folder / "readers" / "gate.pub"
    file.rename(folder / "elsewhere")
    file.symlink_to(folder / "elsewhere")
    before = access_stamp(folder)
    (folder / "elsewhere").unlink()

    assert access_stamp(folder) != before


@pytest.mark.parametrize("field", ["public", "secret", "server"])
def test_forty_characters_that_are_no_key_are_refused_with_the_file(folder: Path, field: str) -> None:
    file = folder / "issued" / "gate.key"
    no_key = "#" * 40  # each of its characters is one of Z85, but five of them are more than 32 bits
    file.write_text(json.dumps({**json.loads(file.read_text()), field: no_key}))

    with pytest.raises(KeyFileError, match=r"gate\.key") as caught:
        load_secret(file)
    assert no_key not in str(caught.value)
    with pytest.raises(KeyFileError, match="40 characters"):
        authorise(folder, Role.READER, ["yard"], no_key)


# Machines of a cluster


def public_key() -> str:
    return zmq.curve_keypair()[0].decode()


def test_other_machines_own_programs_may_do_what_this_ones_may(folder: Path) -> None:
    node = public_key()
    let_in_only(folder, Role.LOCAL, {node: ["hall-1"]})
    access = load_folder(folder).access

    assert access.nodes == {node}
    assert (access.may_all(node), access.may_all(access.local), access.may_all(public_key())) == (True, True, False)
    assert access.problems == ()


def test_a_folder_without_machines_lets_none_in_and_is_in_order(folder: Path) -> None:
    assert not (folder / "nodes").exists()
    assert (check_folder(folder).access.nodes, load_folder(folder).access.problems) == (frozenset(), ())


def test_an_issued_key_may_not_do_everything(folder: Path) -> None:
    access = load_folder(folder).access

    assert [access.may_all(key) for key in (*access.readers, *access.subscribers)] == [False, False]


def test_a_key_has_its_names_by_role_and_in_a_directory_those_of_both(folder: Path) -> None:
    both = public_key()
    authorise(folder, Role.READER, ["north", "south"], both)
    authorise(folder, Role.SUBSCRIBER, ["archive"], both)
    access = load_folder(folder).access

    assert access.names(Role.READER, both) == {"north", "south"}
    assert access.names(Role.SUBSCRIBER, both) == {"archive"}
    assert access.names(Role.LOCAL, both) == access.of(Role.LOCAL)[both] == {"north", "south", "archive"}
    assert access.names(Role.LOCAL, public_key()) == frozenset()


@pytest.mark.parametrize("role", [Role.READER, Role.SUBSCRIBER, Role.LOCAL])
def test_only_the_keys_that_were_handed_out_last_are_let_in(folder: Path, role: Role) -> None:
    first, second, third = public_key(), public_key(), public_key()
    let_in_only(folder, role, {first: ["a"], second: ["b"]})
    let_in_only(folder, role, {second: ["b"], third: ["c", "d"]})

    files = {file.stem: json.loads(file.read_text())["public"] for file in (folder / role.folder).glob("*.pub")}
    assert files == {"b": second, "c": third, "d": third}
    assert check_folder(folder).access.problems == ()
    let_in_only(folder, role, {})
    assert list((folder / role.folder).glob("*.pub")) == []


def test_handing_out_one_role_leaves_the_others_alone(folder: Path) -> None:
    before = load_folder(folder).access
    let_in_only(folder, Role.LOCAL, {public_key(): ["hall-1"]})
    after = load_folder(folder).access

    assert (after.readers, after.subscribers) == (before.readers, before.subscribers)


def test_handing_out_the_same_keys_again_writes_nothing(folder: Path) -> None:
    keys = {public_key(): ["hall-1"], public_key(): ["hall-2"]}
    let_in_only(folder, Role.LOCAL, keys)
    before = access_stamp(folder)
    let_in_only(folder, Role.LOCAL, keys)

    assert access_stamp(folder) == before


def test_a_change_of_the_machines_is_seen(folder: Path) -> None:
    without = access_stamp(folder)
    let_in_only(folder, Role.LOCAL, {public_key(): ["hall-1"]})
    one = access_stamp(folder)
    let_in_only(folder, Role.LOCAL, {public_key(): ["hall-1"]})  # its disk was replaced, and its keys with it

    assert len({without, one, access_stamp(folder)}) == 3


def test_a_name_with_another_key_changes_hands(folder: Path) -> None:
    (gate,) = load_folder(folder).access.readers
    other = public_key()
    let_in_only(folder, Role.READER, {other: ["gate"]})

    assert load_folder(folder).access.readers == {other: {"gate"}}
    assert gate != other


def test_a_damaged_file_of_a_machine_is_made_good(folder: Path) -> None:
    node = public_key()
    let_in_only(folder, Role.LOCAL, {node: ["hall-1"]})
    (folder / "nodes" / "hall-1.pub").write_text("damaged")
    assert "hall-1.pub" in load_folder(folder).access.problems[0]
    let_in_only(folder, Role.LOCAL, {node: ["hall-1"]})

    assert load_folder(folder).access.nodes == {node}


@pytest.mark.parametrize("name", ["../escape", "", "a/b", "-x", "x" * 65])
def test_a_name_that_is_none_changes_nothing(folder: Path, name: str) -> None:
    let_in_only(folder, Role.LOCAL, {(node := public_key()): ["hall-1"]})
    with pytest.raises(KeyFileError, match="not a name"):
        let_in_only(folder, Role.LOCAL, {public_key(): [name]})

    assert load_folder(folder).access.nodes == {node}


def test_what_is_no_key_is_refused_as_a_key_file_is(folder: Path) -> None:
    let_in_only(folder, Role.LOCAL, {(node := public_key()): ["hall-1"]})
    with pytest.raises(KeyFileError, match="40 Z85 characters"):
        let_in_only(folder, Role.LOCAL, {"short": ["hall-1"]})

    assert load_folder(folder).access.nodes == {node}


def test_a_folder_that_cannot_be_written_is_said(folder: Path) -> None:
    (folder / "nodes").write_text("in the way")
    with pytest.raises(KeyFileError, match="nodes"):
        let_in_only(folder, Role.LOCAL, {public_key(): ["hall-1"]})


@pytest.mark.usefixtures("careless")
def test_the_folder_of_machines_is_private_whatever_the_umask(folder: Path) -> None:
    let_in_only(folder, Role.LOCAL, {public_key(): ["hall-1"]})

    assert mode(folder / "nodes") == 0o700


def test_the_local_key_is_read_without_the_servers(folder: Path) -> None:
    (folder / "server.key").unlink()

    assert load_local(folder).role is Role.LOCAL


def test_no_repr_shows_a_secret(folder: Path) -> None:
    shown = repr(load_folder(folder)) + str(load_secret(folder / "issued" / "gate.key"))

    assert "public=" in shown
    assert not any(secret in shown for secret in secrets_of(folder))


def test_the_command_makes_issues_lists_and_revokes_and_shows_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "keys"
    assert main(["keys", str(folder)]) == 0
    assert main(["keys", str(folder), "--reader", "gate,yard", "--out", str(tmp_path / "box.key")]) == 0
    assert main(["keys", str(folder), "--subscriber", "ops"]) == 0
    secrets = [*secrets_of(folder), json.loads((tmp_path / "box.key").read_text())["secret"]]
    assert main(["keys", str(folder), "--revoke", "gate"]) == 0
    before = capsys.readouterr()
    assert main(["keys", str(folder)]) == 0
    listed = capsys.readouterr()

    assert [line.split()[:2] for line in listed.out.splitlines()[2:]] == [["reader", "yard"], ["subscriber", "ops"]]
    said = "".join((*before, *listed))
    assert len(secrets) == 4
    assert not any(secret in said for secret in secrets)


@pytest.mark.parametrize(
    "words", [("--public", "x"), ("--out", "x"), ("--reader", "gate", "--out", "x", "--public", "y"), ("--reader", ",")]
)
def test_words_that_do_not_belong_together_are_wrong_usage(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert main(["keys", str(tmp_path / "keys"), *words]) == 2
