"""The grammar of the magic's line."""

from __future__ import annotations

import keyword

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from IPython.core.error import UsageError

from fluxmagic.jupyter.magics.magic_line import parse, split_assignments, split_groups, split_options


@pytest.mark.parametrize(
    ("line", "names", "expr", "options"),
    [
        ("x, y in data", "x, y", "data", []),
        ("x in data", "x", "data", []),
        ("x, in data", "x,", "data", []),
        ("(x, y), z in data", "(x, y), z", "data", []),
        ("[x, *rest] in data", "[x, *rest]", "data", []),
        ("box.x, d['in'] in data", "box.x, d['in']", "data", []),
        ("  x   in   data  ", "x", "data", []),
        ("x in [p for p in q if p in r]", "x", "[p for p in q if p in r]", []),
        ("x in a in b", "x", "a in b", []),
        ('x, y in batches(df["x"], Y, 32)', "x, y", 'batches(df["x"], Y, 32)', []),
        ("x in data --valid Xtest, Ytest", "x", "data", [("valid", "Xtest, Ytest")]),
        ("x in data --η lr/4", "x", "data", [("η", "lr/4")]),
        ("x in data --η=lr*2", "x", "data", [("η", "lr*2")]),
        ("x in data --η = lr*2", "x", "data", [("η", "lr*2")]),
        ("x in data --eta 1 --ϵ 1e-3", "x", "data", [("eta", "1"), ("ε", "1e-3")]),
        ("x in data --epochs -1", "x", "data", [("epochs", "-1")]),
        ("x in data --epochs 2 # a --b", "x", "data", [("epochs", "2")]),
        ("x in data # --epochs 2", "x", "data", []),
        ("x in '# no --comment' --epochs 2", "x", "'# no --comment'", [("epochs", "2")]),
        ('x in """a --b""" --c 1', "x", '"""a --b"""', [("c", "1")]),
        ("x in f'{a} --b {c}' --d 1", "x", "f'{a} --b {c}'", [("d", "1")]),
        ("x in (a --b) --c 1", "x", "(a --b)", [("c", "1")]),
        ("x in a[i --j] --c 1", "x", "a[i --j]", [("c", "1")]),
        ("x in a--b", "x", "a--b", []),
        ("x in a - -b", "x", "a - -b", []),
        ("x in a -- b", "x", "a -- b", []),
        ("x in a --1", "x", "a --1", []),
        ("x in {1: '{}'}['$y'] --z {2}", "x", "{1: '{}'}['$y']", [("z", "{2}")]),
        ("x in data --resume --no-panel", "x", "data", [("resume", ""), ("no-panel", "")]),
        ("x in data --metric a=f(x, y=1) --metric b=2", "x", "data", [("metric", "a=f(x, y=1)"), ("metric", "b=2")]),
        ("x in data --until a == b", "x", "data", [("until", "a == b")]),
        ("x in data --until == b", "x", "data", [("until", "== b")]),
        ("x in data --η lambda n: 1 / (n + 1)", "x", "data", [("η", "lambda n: 1 / (n + 1)")]),
        ("größe in data --β2 β", "größe", "data", [("β2", "β")]),
    ],
)
def test_a_line_is_split_at_options_outside_of_strings_and_brackets(line, names, expr, options):
    parts = parse(line)
    assert (parts.names, parts.expr, parts.options) == (names, expr, options)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "there is none; a loss that takes no batch is computed --steps N times"),
        ("--epochs 2", "there is none; a loss that takes no batch is computed --steps N times"),
        ("x, y", "no `in` in 'x, y'"),
        ("in data", "nothing before `in`"),
        ("x in", "nothing after `in`"),
        ("x in --epochs 2", "nothing after `in`"),
        ("x + 1 in data", "'x + 1' cannot be bound to a batch"),
        ("x: int in data", "'x: int' cannot be bound"),
        ("f(x) in data", "'f(x)' cannot be bound"),
        ("x; y in data", "'x; y' cannot be bound"),
        ("None in data", "'None' cannot be bound"),
        ("x in f(data", "'(' was never closed: (data"),
        ("x in data --valid [1, 2", "'[' was never closed: [1, 2"),
        ("x in data)", "')' closes nothing"),
        ("x in (data]", "']' closes nothing"),
        ("x in 'data", "'data"),
        ("x in '''data", "'''data"),
    ],
)
def test_a_malformed_line_is_refused_in_one_line_that_names_the_fault(line, says):
    with pytest.raises(UsageError) as error:
        parse(line)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


NAMES = st.from_regex(r"[a-zA-Zηρσ_][a-z0-9βϵ]{0,5}", fullmatch=True).filter(lambda s: not keyword.iskeyword(s))
VALUES = st.recursive(
    NAMES
    | st.integers().map(repr)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.text(st.characters(codec="utf-8"), max_size=12).map(repr)
    | st.sampled_from(["' --x 1'", '"#"', "[]", "-1", "a - -b", "lambda q: q", "a == b", "not a"]),
    lambda inner: (
        st.builds("({})".format, inner)
        | st.builds("[{}, {}]".format, inner, inner)
        | st.builds("{{{}: {}}}".format, inner, inner)
        | st.builds("f({}, k={})".format, inner, inner)
        | st.builds("({} --{})".format, inner, NAMES)
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=150)
@given(NAMES, VALUES, st.lists(st.tuples(NAMES, VALUES, st.sampled_from([" ", "=", " = "])), max_size=4))
def test_a_composed_line_is_split_into_its_parts(name, expr, options):
    import unicodedata

    line = f"{name} in {expr}" + "".join(f" --{k}{between}{v}" for k, v, between in options) + "  # --done"
    parts = parse(line)
    assert (parts.names, parts.expr) == (name, expr)
    assert parts.options == [(unicodedata.normalize("NFKC", k), v) for k, v, _ in options]


@settings(deadline=None, max_examples=200)
@example("\0")
@given(st.text("xin ,=-#'\"()[]{}$\\?!:;ηa1\t\f\x00", max_size=40))
def test_any_text_is_split_or_refused(line):
    try:
        parts = parse(line)
    except UsageError:
        return
    assert parts.names
    assert parts.expr


@pytest.mark.parametrize(
    ("text", "head", "pairs"),
    [
        ("η=0.1", "", [("η", "0.1")]),
        ("ϵ = 1e-3", "", [("ε", "1e-3")]),
        ("η=lr/4, clip=f(a=1)", "", [("η", "lr/4"), ("clip", "f(a=1)")]),
        ("η=lr/4 clip=None", "", [("η", "lr/4"), ("clip", "None")]),
        ("SGD η=0.1", "SGD", [("η", "0.1")]),
        ("a b", "a b", []),
        ("a == b", "a == b", []),
        ("f(x) = 1", "f(x) = 1", []),
    ],
)
def test_assignments_are_split_from_the_part_before_them(text, head, pairs):
    assert split_assignments(text) == (head, pairs)


def test_a_text_without_options_loses_only_its_comment():
    assert split_options("set η=0.1 # now") == ("set η=0.1", [])


def test_options_are_split_into_groups_that_begin_with_the_same_option():
    _, options = split_options("--steps 3 --η 1 --opt A --η 2 --ρ 0.9 --opt B")
    common, groups = split_groups(options, "opt")
    assert common == [("steps", "3"), ("η", "1")]
    assert groups == [[("opt", "A"), ("η", "2"), ("ρ", "0.9")], [("opt", "B")]]
    assert split_groups(common, "opt") == (common, [])


def test_a_usage_error_names_the_magic():
    with pytest.raises(UsageError, match=r"^%%race NAMES in EXPR"):
        parse("batches(X, Y, 32)", "%%race")
