"""The runner of pages finds what it must."""

from pathlib import Path

import pytest

from tests.docs.blocks import Example, Session, difference, examples, outdated, updated

PAGE = """\
Words.

```python
x = 6 * 7
print("x is", x)
```

```text
x is 42
```

```python
print(x, 0.25)
```

Not the output of the block above:

```text
anything
```
"""


def write(folder: Path, page: str) -> Path:
    path = folder / "page.md"
    path.write_text(page, encoding="utf-8")
    return path


def test_blocks_are_found_with_their_lines() -> None:
    first, second = examples(PAGE)
    assert (first.line, first.expected) == (4, "x is 42\n")
    assert PAGE[slice(*first.place)] == "x is 42\n"
    assert (second.line, second.expected) == (13, None)


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        ("a\nb\n", "a  \nb\n\n"),
        ("a ... d\n", "a b c d"),
        ("a\n...\nd\n", "a\nb\nc\nd\n"),
        ("a\n...\n", "a\n"),
        ("(a|b)...\n", "(a|b)*\n"),
    ],
)
def test_equal(expected: str, printed: str) -> None:
    assert difference(expected, printed) == ""


@pytest.mark.parametrize(
    ("expected", "printed"),
    [("a\n", "b\n"), ("a ... d\n", "a\nd\n"), ("a\n...\nd\n", "a\nb\n"), ("a\n", "a\nb\n")],
)
def test_different(expected: str, printed: str) -> None:
    assert difference(expected, printed)


def test_a_page_that_is_right(tmp_path: Path) -> None:
    assert outdated(write(tmp_path, PAGE), update=False) == []


def test_a_page_that_is_wrong_is_named_with_its_line(tmp_path: Path) -> None:
    (wrong,) = outdated(write(tmp_path, PAGE.replace("is 42", "is 43")), update=False)
    assert wrong.startswith("page.md:4: ")


def test_an_update_changes_numbers_only(tmp_path: Path) -> None:
    path = write(tmp_path, PAGE.replace("is 42", "is 43"))
    assert outdated(path, update=True) == []
    assert path.read_text(encoding="utf-8") == PAGE
    assert updated("a 1\n...\ntime  ... s\n", "a 2\nb\ntime  3 s\n") == "a 2\n...\ntime  ... s\n"
    with pytest.raises(ValueError, match="by hand"):
        updated("a 1\n", "something else\n")


def test_python_errors_carry_the_line_of_the_page() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        Session("page.md").run(Example("python", "a = 1\n1 / 0\n", line=30))
    last = caught.traceback[-1]
    assert (str(last.path).rpartition("/")[2], last.lineno) == ("page.md", 30)  # counted from 0


def test_a_command_must_fail_exactly_when_the_page_says_so() -> None:
    fails = Example("sh", "kcompile targets nowhere\n", 1)
    with pytest.raises(AssertionError, match="exit codes"):
        Session("page.md").run(fails)
    says_so = Example("sh", fails.code, 1, "error: ...\n")
    assert Session("page.md").run(says_so).startswith("error: ")
    with pytest.raises(AssertionError, match="exit codes"):
        Session("page.md").run(Example("sh", "kcompile --version\n", 1, "error: ...\n"))
    with pytest.raises(ValueError, match="kcompile only"):
        Session("page.md").run(Example("sh", "rm x\n", 1))
