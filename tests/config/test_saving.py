from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplb.config.changes import (
    AddBackend,
    RemoveBackend,
    RuntimeChange,
    RuntimeChanges,
    SetState,
    SetWeight,
)
from tcplb.config.models import BackendConfig, Config
from tcplb.config.overrides import Override
from tcplb.config.saving import edited, save
from tcplb.config.settings import load
from tcplb.errors import ChangeError, ConfigError
from tests.config.backend_texts import Written, changes_of, written_files

NEW = BackendConfig(name="b5", address="127.0.0.1:8085", weight=2)
HEADERS = """\
# The balancer of the shop.
[pools.web]   # what it is for
strategy = "hash"

# Where the work is done:
[[pools.web.backends]]
name = "b1"
address = "127.0.0.1:8081"   # the old one
weight = 1  # it is slow

# The second one,
# which is new.
[[pools.web.backends]]   # see above
name = "b2"
address = "127.0.0.1:8082"
# weight = 7

[[pools.web.backends]]
address = "127.0.0.1:8083"

# When to stop:
[limits]
drain_timeout = "5s"
"""


def load_config(path: Path) -> Config:
    return load(path).config


def config_of(text: str) -> Config:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "tcplb.toml"
        path.write_bytes(text.encode())
        return load_config(path)


def changed(config: Config, *changes: RuntimeChange) -> RuntimeChanges:
    overlay = RuntimeChanges()
    for change in changes:
        overlay = overlay.with_change(change, config)
    return overlay


def edit(text: str, *changes: RuntimeChange) -> str:
    config = config_of(text)
    overlay = changed(config, *changes)
    result = edited(text, overlay, config)
    assert config_of(result) == overlay.apply_to(config)
    return result


def other(name: str, address: str, **rest: object) -> tuple[RuntimeChange, RuntimeChange]:
    backend = BackendConfig.model_validate({"name": name, "address": address, **rest})
    return RemoveBackend("web", name), AddBackend("web", backend)


def cut(text: str, first: str, last: str) -> str:
    """`text` without what is from `first` to the end of `last`."""
    return text[: text.index(first)] + text[text.index(last) + len(last) :]


def test_a_key_that_is_there_is_set_in_place() -> None:
    result = edit(HEADERS, SetWeight("web", "b1", 5))
    assert result == HEADERS.replace("weight = 1  # it", "weight = 5  # it")
    # And back to the default: it stays there.
    assert edit(result, SetWeight("web", "b1", 1)) == HEADERS


def test_a_new_key_comes_behind_the_last_one() -> None:
    result = edit(HEADERS, SetState("web", "b2", "draining"))
    assert result == HEADERS.replace('8082"\n', '8082"\nstate = "draining"\n')


def test_two_new_keys() -> None:
    changes = (SetState("web", "b2", "draining"), SetWeight("web", "b2", 9))
    both = '8082"\nweight = 9\nstate = "draining"\n'
    assert edit(HEADERS, *changes) == HEADERS.replace('8082"\n', both)


def test_the_first_backend_goes_without_the_comment_above_it() -> None:
    assert edit(HEADERS, RemoveBackend("web", "b1")) == cut(
        HEADERS, '[[pools.web.backends]]\nname = "b1"', "slow\n\n"
    ).replace("done:\n", "done:\n\n", 1)


def test_another_goes_with_the_comment_that_belongs_to_it() -> None:
    result = edit(HEADERS, RemoveBackend("web", "b2"))
    # A comment below it may belong to it, or not: it stays.
    assert result == cut(HEADERS, "# The second", '8082"\n')


def test_a_gap_is_not_left_where_a_backend_was() -> None:
    result = edit(HEADERS, RemoveBackend("web", "127.0.0.1:8083"))
    assert result == cut(HEADERS, "\n[[pools.web.backends]]\naddress", '8083"\n')


def test_a_comment_with_no_blank_line_above_it_stays() -> None:
    text = HEADERS.replace("slow\n\n", "slow\n")
    assert edit(text, RemoveBackend("web", "b2")) == cut(
        text, "[[pools.web.backends]]   #", '8082"\n'
    )


def test_a_multi_line_string_that_looks_like_a_comment_stays() -> None:
    text = (
        '[[pools.web.backends]]\naddress = "h:1"\nname = """\\\n\n# b1"""\n'
        '[[pools.web.backends]]\naddress = "h:2"\n'
    ).replace("# b1", "b1")
    assert edit(text, RemoveBackend("web", "h:2")) == text[: text.index("[[", 3)]
    send = '[pools.web.check]\ntype = "send-expect"\nsend = """\n\n# x"""\n'
    backends = [
        '[[pools.web.backends]]\naddress = "h:1"\n',
        '[[pools.web.backends]]\naddress = "h:2"\n',
    ]
    assert edit(backends[0] + send + backends[1], RemoveBackend("web", "h:2")) == backends[0] + send


def test_one_that_is_added_comes_behind_the_last_one() -> None:
    added = '\n[[pools.web.backends]]\nname = "b5"\naddress = "127.0.0.1:8085"\nweight = 2\n'
    result = edit(HEADERS, AddBackend("web", NEW))
    assert result == HEADERS.replace('8083"\n', '8083"\n' + added)


def test_one_without_a_name_is_added_without_a_name() -> None:
    added = '\n[[pools.web.backends]]\naddress = "h:1"\nbackup = true\nstate = "disabled"\n'
    backend = BackendConfig(address="h:1", backup=True, state="disabled")
    result = edit(HEADERS, AddBackend("web", backend))
    assert result == HEADERS.replace('8083"\n', '8083"\n' + added)


def test_added_to_a_file_without_a_last_line_end() -> None:
    text = '[[pools.web.backends]]\r\naddress = "h:1"'
    added = (
        '\r\n\r\n[[pools.web.backends]]\r\nname = "b5"\r\naddress = "127.0.0.1:8085"\r\nweight = 2'
    )
    assert edit(text, AddBackend("web", NEW)) == text + added
    assert edit(text, SetWeight("web", "h:1", 3)) == text + "\r\nweight = 3"


def test_another_address_under_the_same_name() -> None:
    result = edit(HEADERS, *other("b1", "h:9", weight=1, tier=2))
    assert result == HEADERS.replace("127.0.0.1:8081", "h:9").replace("slow\n", "slow\ntier = 2\n")


def test_another_address_under_the_name_of_the_old_one() -> None:
    result = edit(HEADERS, *other("127.0.0.1:8083", "h:9"))
    assert result == HEADERS.replace('"127.0.0.1:8083"', '"h:9"\nname = "127.0.0.1:8083"')


def test_a_tier_that_becomes_backup() -> None:
    text = HEADERS.replace("weight = 1", "tier = 3")
    result = edit(text, *other("b1", "127.0.0.1:8081", backup=True))
    assert result == text.replace("tier = 3", "tier = 0").replace("slow\n", "slow\nbackup = true\n")


def test_windows_line_ends_and_a_byte_order_mark() -> None:
    text = "\ufeff" + HEADERS.replace("\n", "\r\n")
    unix = edit(HEADERS, SetState("web", "b2", "disabled"), AddBackend("web", NEW))
    result = edit(text, SetState("web", "b2", "disabled"), AddBackend("web", NEW))
    assert result == "\ufeff" + unix.replace("\n", "\r\n")


LINE = (
    "pools.web = {backends=[{address='h:1',weight=2}, { address = 'h:2' }, {address='h:3'}]} # c\n"
)


@pytest.mark.parametrize(
    ("change", "old", "new"),
    [
        (SetWeight("web", "h:1", 7), "weight=2", "weight=7"),
        (SetWeight("web", "h:2", 7), "'h:2' }", "'h:2', weight = 7 }"),
        (RemoveBackend("web", "h:1"), "{address='h:1',weight=2}, ", ""),
        (RemoveBackend("web", "h:2"), "{ address = 'h:2' }, ", ""),
        (RemoveBackend("web", "h:3"), ", {address='h:3'}", ""),
        (
            AddBackend("web", NEW),
            "'h:3'}",
            '\'h:3\'}, { name = "b5", address = "127.0.0.1:8085", weight = 2 }',
        ),
    ],
)
def test_an_array_on_one_line(change: RuntimeChange, old: str, new: str) -> None:
    assert edit(LINE, change) == LINE.replace(old, new)


LINES = """\
[pools.web]
backends = [  # all of them
    # these:
    { address = "h:1" },  # one

    # the big one
    { address = "h:2" },  # two
    # small
    { address = "h:3" }   # three
]
strategy = "hash"
"""
ADDED = '    { name = "b5", address = "127.0.0.1:8085", weight = 2 }'


@pytest.mark.parametrize(
    ("change", "old", "new"),
    [
        (SetWeight("web", "h:2", 7), '"h:2" }', '"h:2", weight = 7 }'),
        (RemoveBackend("web", "h:1"), '    { address = "h:1" },  # one\n', ""),
        (
            RemoveBackend("web", "h:2"),
            '    # the big one\n    { address = "h:2" },  # two\n',
            "",
        ),
        (RemoveBackend("web", "h:3"), '    { address = "h:3" }   # three\n', ""),
        (
            AddBackend("web", NEW),
            '"h:3" }   # three\n',
            f'"h:3" }},   # three\n{ADDED}\n',
        ),
    ],
)
def test_an_array_over_several_lines(change: RuntimeChange, old: str, new: str) -> None:
    assert edit(LINES, change) == LINES.replace(old, new)


def test_an_array_with_a_last_comma_keeps_it() -> None:
    text = LINES.replace('"h:3" }', '"h:3" },')
    assert edit(text, AddBackend("web", NEW)) == text.replace("three\n", f"three\n{ADDED},\n")


def test_all_are_replaced() -> None:
    gone = (RemoveBackend("web", f"h:{n}") for n in (1, 2, 3))
    assert edit(LINE, AddBackend("web", NEW), *gone) == (
        'pools.web = {backends=[{ name = "b5", address = "127.0.0.1:8085", weight = 2 }]} # c\n'
    )


def test_several_that_are_added_come_one_behind_the_other() -> None:
    new = [AddBackend("web", BackendConfig(address=f"h:{port}")) for port in (1, 2, 3)]
    headers = "".join(f'\n[[pools.web.backends]]\naddress = "h:{port}"\n' for port in (1, 2, 3))
    assert edit(HEADERS, *new) == HEADERS.replace('8083"\n', f'8083"\n{headers}')
    for before, after in (
        ("[{a}]", "[{a}, {1}, {2}, {3}]"),
        ("[\n  {a} # one\n]", "[\n  {a}, # one\n  {1},\n  {2},\n  {3}\n]"),
        ("[\n  {a}, # one\n]", "[\n  {a}, # one\n  {1},\n  {2},\n  {3},\n]"),
    ):
        forms = {str(port): f'{{ address = "h:{port}" }}' for port in (1, 2, 3)}
        texts = []
        for array in (before, after):
            for name, form in {"a": '{ address = "a:1" }', **forms}.items():
                array = array.replace(f"{{{name}}}", form)  # noqa: PLW2901
            texts.append(f"[pools.web]\nbackends = {array}\n")
        assert edit(texts[0], *new) == texts[1]


def test_a_thousand_changes_take_no_time_to_speak_of() -> None:
    names = [f"b{n}" for n in range(1000)]
    text = "".join(f'[[pools.web.backends]]\nname = "{n}"\naddress = "h:1"\n' for n in names)
    config = config_of(text)
    overlay = RuntimeChanges(tuple(SetWeight("web", name, 2) for name in names))
    assert overlay.rebased(config) == (overlay, ())
    # It was a minute each, in which the supervisor did nothing else.
    assert edited(text, overlay, config).count("weight = 2") == 1000


def test_no_change_is_no_edit() -> None:
    assert edited("nothing = [ to see", RuntimeChanges(), Config()) == "nothing = [ to see"


def test_backends_that_are_not_in_the_text() -> None:
    changes = changed(Config(), SetWeight("default", "127.0.0.1:8081", 2))
    for text in ("", "workers = 1\n", "[[pools.default.backends]]\naddress = 'h:1'\n"):
        with pytest.raises(ChangeError) as caught:
            edited(text, changes, Config())
        assert str(caught.value) == (
            "the backends of pool default do not come from the file, so they cannot be saved "
            "there: they are from flags, variables or defaults"
        )


@st.composite
def edits(draw: st.DrawFn) -> tuple[Written, list[RuntimeChange]]:
    written = draw(written_files())
    return written, draw(st.lists(changes_of(list(written.pools)), max_size=6))


@settings(deadline=None, max_examples=100)
@given(edits())
def test_the_edited_text_says_what_is_in_force(case: tuple[Written, list[RuntimeChange]]) -> None:
    written, wanted = case
    config = config_of(written.text)
    changes = RuntimeChanges()
    for change in wanted:
        try:
            changes = changes.with_change(change, config)
        except ChangeError:
            continue
    result = edited(written.text, changes, config)
    assert config_of(result) == changes.apply_to(config)
    assert changes or result == written.text
    kept = [line.split("# keep")[1] for line in result.splitlines() if "# keep" in line]
    assert kept == [line.split("# keep")[1] for line in written.comments]
    assert ("\r\n" in result) == ("\r\n" in written.text)
    assert result.count("\n") == result.count("\r\n") or "\r\n" not in result


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tcplb.toml"
    path.write_text(HEADERS)
    return path


def heavier(path: Path) -> RuntimeChanges:
    return changed(load_config(path), SetWeight("web", "b1", 5))


def save_fails(
    path: Path | None, changes: RuntimeChanges, load_it: Callable[[Path], Config] = load_config
) -> str:
    """What is said when it cannot be saved; nothing is left behind then."""
    before = sorted(path.parent.iterdir()) if path else []
    with pytest.raises(ChangeError) as caught:
        save(path, changes, load_it)
    assert before == (sorted(path.parent.iterdir()) if path else [])
    return str(caught.value)


def test_save(path: Path) -> None:
    changes = heavier(path)
    path.chmod(0o640)
    inode = path.stat().st_ino
    wanted = changes.apply_to(load_config(path))
    save(path, changes, load_config)
    assert load_config(path) == wanted
    assert path.read_text() == HEADERS.replace("weight = 1  # it", "weight = 5  # it")
    assert path.stat().st_mode & 0o7777 == 0o640
    assert path.stat().st_ino != inode
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_stays(path: Path) -> None:
    os.chown(path, 12, 34)
    path.chmod(0o6755)
    save(path, heavier(path), load_config)
    status = path.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (12, 34, 0o6755)


def test_a_link_stays_one(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "there" / "link.toml"
    link.parent.mkdir()
    link.symlink_to("../tcplb.toml")
    save(link, heavier(path), load_config)
    assert link.is_symlink()
    assert "weight = 5" in path.read_text()
    assert list(link.parent.iterdir()) == [link]


def test_nothing_to_save(path: Path) -> None:
    save(path, RuntimeChanges(), load_config)
    changes = heavier(path)
    save(path, changes, load_config)
    inode = path.stat().st_ino
    # The file says it already.
    save(path, changes, load_config)
    assert path.stat().st_ino == inode


def test_no_file() -> None:
    changes = changed(Config(), SetWeight("default", "127.0.0.1:8081", 2))
    assert save_fails(None, changes) == (
        "there is no file to save to: tcplb was started without one"
    )


def test_a_file_that_has_changed_since(path: Path) -> None:
    changes = heavier(path)
    path.write_text(HEADERS.replace('"b1"', '"b7"'))
    assert save_fails(path, changes) == (
        f"{path} has changed since it was loaded, and now no backend is called b1 in pool web "
        '(there are b7, b2, "127.0.0.1:8083")'
    )


def test_a_file_that_is_wrong_or_gone(path: Path) -> None:
    changes = heavier(path)
    path.write_text("workers = 0\n")
    with pytest.raises(ConfigError):
        save(path, changes, load_config)
    path.unlink()
    with pytest.raises(ConfigError):
        save(path, changes, load_config)
    assert not list(path.parent.iterdir())


def loading_with(*overrides: Override) -> Callable[[Path], Config]:
    return lambda path: load(path, overrides).config


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            [{"address": "h:1"}, {"address": "h:2"}],
            "the backends of pool web do not come from the file, so they cannot be saved there: "
            "they are from flags, variables or defaults",
        ),
        (
            [
                {"name": "b1", "address": "h:1"},
                {"name": "b2", "address": "h:2"},
                {"address": "127.0.0.1:8083"},
            ],
            "{} cannot be made to say what is in force: a flag or a variable sets the backends",
        ),
    ],
)
def test_backends_from_a_flag(path: Path, tables: Sequence[object], message: str) -> None:
    load_it = loading_with(Override(("backends",), list(tables), "--backend"))
    config = load_it(path)
    name = config.pools["web"].backends[0].name
    changes = changed(config, SetWeight("web", name, 5))
    assert save_fails(path, changes, load_it) == message.format(path)
    assert path.read_text() == HEADERS


def test_other_flags_do_not_matter(path: Path) -> None:
    load_it = loading_with(Override(("pools", "*", "strategy"), "first", "--strategy"))
    changes = changed(load_it(path), SetWeight("web", "b1", 5))
    save(path, changes, load_it)
    assert path.read_text() == HEADERS.replace("weight = 1  # it", "weight = 5  # it")


def test_a_file_that_somebody_changes_meanwhile(path: Path) -> None:
    def load_and_change(which: Path) -> Config:
        config = load_config(which)
        if which != path:
            path.write_text(HEADERS + "# new\n")
        return config

    assert save_fails(path, heavier(path), load_and_change) == (
        f"{path} has just been changed by somebody else: try again"
    )
    assert path.read_text() == HEADERS + "# new\n"


def test_a_result_that_cannot_be_loaded(path: Path) -> None:
    def load_only_that(which: Path) -> Config:
        return load_config(which if which == path else path.parent / "nosuch.toml")

    message = save_fails(path, heavier(path), load_only_that)
    assert message.startswith(f"{path} would not be valid: ")


def test_a_pipe_is_no_file_to_save_to(path: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    message = save_fails(pipe, heavier(path))
    assert message == f"{pipe} is not a regular file, so nothing can be saved there"


SAVE = """
import os, resource, sys
from pathlib import Path
from tcplb.config.changes import RuntimeChanges, SetWeight
from tcplb.config.saving import save
from tcplb.config.settings import load
from tcplb.errors import ChangeError

path, file_size, user = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
load_config = lambda path: load(path).config
changes = RuntimeChanges().with_change(SetWeight("web", "b1", 5), load_config(path))
if file_size:
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
if user:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
try:
    save(path, changes, load_config)
except ChangeError as error:
    print(error)
"""


def saved_by_a_process(path: Path, *, file_size: int = 0, user: int = 0) -> str:
    """What a process says that saves; it may write files only so long, or as that user."""
    result = subprocess.run(
        [sys.executable, "-c", SAVE, str(path), str(file_size), str(user)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    return result.stdout.strip()


def test_a_disk_that_is_full(path: Path) -> None:
    # A limit on the size of a file fails in the same place.
    assert saved_by_a_process(path, file_size=100) == f"{path} cannot be written: file too large"
    assert path.read_text() == HEADERS
    assert list(path.parent.iterdir()) == [path]


@pytest.fixture
def foreign() -> Iterator[Path]:
    """A file in a directory that others can reach."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        path = Path(directory) / "tcplb.toml"
        path.write_text(HEADERS)
        yield path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a process as somebody else")
@pytest.mark.parametrize(
    ("directory_mode", "file_mode", "message"),
    [
        (0o755, 0o666, "{} cannot be written: permission denied"),
        (0o777, 0o644, "{} cannot be written: permission denied"),
        (0o777, 0o666, "{} cannot be written: operation not permitted"),
    ],
)
def test_a_file_of_somebody_else(
    foreign: Path, directory_mode: int, file_mode: int, message: str
) -> None:
    foreign.parent.chmod(directory_mode)
    foreign.chmod(file_mode)
    assert saved_by_a_process(foreign, user=65534) == message.format(foreign)
    assert foreign.read_text() == HEADERS
    assert list(foreign.parent.iterdir()) == [foreign]
