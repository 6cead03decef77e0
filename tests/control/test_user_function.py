from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tcplb.control.user_function import load_function, load_functions
from tcplb.errors import StrategyError

MODULE = """
class Racks:
    @staticmethod
    def near(key, backends):
        return backends[0]

    class Inner:
        deep = staticmethod(lambda key, backends: backends[-1])

def near(key, backends):
    return backends[0]

near.keyed = False
not_a_function = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[str]:
    """A folder for modules; what is imported from it is forgotten afterwards."""
    path, modules = list(sys.path), set(sys.modules)
    yield str(tmp_path)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder: str, name: str, text: str = MODULE) -> None:
    (Path(folder) / name).write_text(text)


def refusal(name: str, folder: str) -> str:
    with pytest.raises(StrategyError) as caught:
        load_function(name, folder)
    return str(caught.value)


def test_a_function_of_a_module_in_the_folder_is_found(folder: str) -> None:
    write(folder, "user_rack.py")
    function = load_function("user_rack:near", folder)
    assert function is sys.modules["user_rack"].near


@pytest.mark.parametrize("attributes", ["Racks.near", "Racks.Inner.deep"])
def test_it_may_be_an_attribute_of_something(folder: str, attributes: str) -> None:
    write(folder, "user_rack.py")
    assert callable(load_function(f"user_rack:{attributes}", folder))


def test_the_module_may_be_one_of_a_package(folder: str) -> None:
    package = Path(folder) / "user_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "rack.py").write_text(MODULE)
    assert callable(load_function("user_package.rack:near", folder))


def test_a_module_that_is_installed_needs_no_folder(folder: str) -> None:
    before = list(sys.path)
    assert callable(load_function("os.path:join", ""))
    assert sys.path == before


def test_it_may_import_its_neighbours(folder: str) -> None:
    write(folder, "user_rack.py")
    write(folder, "user_other.py", "from user_rack import near\n")
    assert callable(load_function("user_other:near", folder))


def test_the_folder_comes_last_and_once(folder: str) -> None:
    write(folder, "user_rack.py")
    before = list(sys.path)
    for _ in range(3):
        load_function("user_rack:near", folder)
    assert sys.path == [*before, folder]


@pytest.mark.parametrize("module", ["json", "wave", "tcplb", "xxhash"])
def test_a_file_in_the_folder_does_not_take_the_place_of_a_module_that_we_need(
    folder: str, module: str
) -> None:
    """Neither one that we have imported nor one that somebody may import later (`wave`)."""
    write(folder, f"{module}.py", "def near(key, backends): ...\n")
    assert "has no attribute 'near'" in refusal(f"{module}:near", folder)
    assert Path(str(sys.modules[module].__file__)).parent != Path(folder)


# -- what may be wrong ------------------------------------------------------------------------


def test_there_may_be_no_such_module(folder: str) -> None:
    assert refusal("user_nosuch:near", folder) == (
        "cannot load the strategy user_nosuch:near: "
        "ModuleNotFoundError: No module named 'user_nosuch'"
    )


@pytest.mark.parametrize("attributes", ["nosuch", "Racks.nosuch", "near.nosuch.deep"])
def test_there_may_be_no_such_function(folder: str, attributes: str) -> None:
    write(folder, "user_rack.py")
    text = refusal(f"user_rack:{attributes}", folder)
    assert text.startswith(f"cannot load the strategy user_rack:{attributes}: AttributeError: ")
    assert "'nosuch'" in text


def test_it_may_be_something_else(folder: str) -> None:
    write(folder, "user_rack.py")
    assert refusal("user_rack:not_a_function", folder) == (
        "cannot load the strategy user_rack:not_a_function: it is not a function"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import sys; sys.exit('no licence')", "SystemExit: no licence"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import user_nosuch", "ModuleNotFoundError: No module named 'user_nosuch'"),
        ("def near(:", "SyntaxError: "),
        ("open('/nonexistent/file')", "FileNotFoundError: "),
    ],
)
def test_the_module_may_fail_or_exit_as_it_is_imported(folder: str, text: str, reason: str) -> None:
    write(folder, "user_broken.py", text + "\n")
    assert refusal("user_broken:near", folder).startswith(
        f"cannot load the strategy user_broken:near: {reason}"
    )


def test_ctrl_c_is_not_the_modules_fault(folder: str) -> None:
    write(folder, "user_slow.py", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_function("user_slow:near", folder)


def test_of_many_strategies_those_that_are_functions_are_tried(folder: str) -> None:
    load_functions(["round-robin", "hash", "os.path:join"])
    with pytest.raises(StrategyError, match="user_nosuch"):
        load_functions(["round-robin", "os.path:join", "user_nosuch:near"])
