"""Configuration is read strictly; files appear whole or not at all."""

import json
from dataclasses import dataclass, field
from typing import Literal

import pytest

from glass_ml.config import as_mapping, build, read_yaml
from glass_ml.errors import InputError
from glass_ml.files import atomic_path, sha256_file, sha256_text, write_json, write_text


@dataclass(frozen=True)
class Inner:
    steps: int = 10
    scale: float = 1.0


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner = field(default_factory=Inner)
    kind: Literal["a", "b"] = "a"
    pair: tuple[float, float] = (0.0, 1.0)
    many: tuple[int, ...] = ()
    maybe: float | None = None
    amounts: dict[str, float] = field(default_factory=dict)
    flag: bool = False


FULL = {
    "name": "x",
    "inner": {"steps": 3, "scale": 2},
    "kind": "b",
    "pair": [1, 2],
    "many": [1, 2, 3],
    "maybe": 0,
    "amounts": {"Si": 1},
    "flag": True,
}


def test_nested_values_are_converted():
    built = build(Outer, FULL, "here")
    assert built == Outer("x", Inner(3, 2.0), "b", (1.0, 2.0), (1, 2, 3), 0.0, {"Si": 1.0}, True)
    assert type(built.inner.scale) is float and type(built.maybe) is float


def test_a_configuration_survives_its_mapping():
    built = build(Outer, FULL, "here")
    assert build(Outer, json.loads(json.dumps(as_mapping(built))), "here") == built
    assert build(Inner, None, "here") == Inner()


def test_a_legal_zero_and_a_null_are_kept():
    assert build(Outer, {"name": "", "inner": {"steps": 0, "scale": 0}}, "here").inner == Inner(0, 0.0)
    assert build(Outer, {"name": "x", "maybe": None}, "here").maybe is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inner": {"step": 3}}, r"here\.inner: unknown key 'step' \(did you mean 'steps'\?\)"),
        ({"colour": 1}, r"here: unknown key 'colour' \(known keys: name, inner"),
        ({"inner": {"steps": 3.0}}, r"here\.inner\.steps: '3.0' is not of the type int"),
        ({"inner": {"steps": True}}, r"here\.inner\.steps"),
        ({"inner": {"steps": "3"}}, r"here\.inner\.steps"),
        ({"inner": {"scale": "2"}}, r"here\.inner\.scale"),
        ({"inner": {"scale": True}}, r"here\.inner\.scale"),
        ({"inner": {"scale": None}}, r"here\.inner\.scale"),
        ({"inner": [3]}, r"here\.inner: .* is not a mapping"),
        ({"kind": "c"}, r"here\.kind: 'c' is not of the type a or b"),
        ({"kind": ["a"]}, r"here\.kind"),
        ({"pair": [1]}, r"here\.pair"),
        ({"pair": [1, "2"]}, r"here\.pair\[1\]"),
        ({"pair": "12"}, r"here\.pair"),
        ({"many": [1, 2.5]}, r"here\.many\[1\]"),
        ({"maybe": "none"}, r"here\.maybe"),
        ({"amounts": {"Si": "much"}}, r"here\.amounts\.Si"),
        ({"amounts": ["Si"]}, r"here\.amounts"),
        ({"flag": 1}, r"here\.flag"),
        ({"name": 3}, r"here\.name"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(change, message):
    with pytest.raises(InputError, match=message):
        build(Outer, {"name": "x", **change}, "here")


def test_missing_key():
    with pytest.raises(InputError, match=r"here: missing key 'name'"):
        build(Outer, {}, "here")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- a\n- b\n", "not a mapping"),
        (b"", "not a mapping"),
        (b"a: 1\nb: [1, 2\nc: 3\n", r"params\.yaml:3: not valid YAML"),
        (b"a: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
        (b"a: \xff\xfe\n", "cannot be read"),
    ],
)
def test_yaml_that_is_no_configuration(tmp_path, content, message):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_yaml(path)


def test_yaml_that_is_missing_or_a_folder(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        read_yaml(tmp_path)


def test_input_error_is_one_line():
    assert str(InputError("density -1 is not positive", "t.yaml: density", "give 0.05")) == (
        "t.yaml: density: density -1 is not positive (give 0.05)"
    )
    assert str(InputError("no prior")) == "no prior"


def test_a_failing_block_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "a.json") as temporary:
        temporary.write_text("half")
        assert temporary.suffix == ".json" and temporary.parent == tmp_path
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_failing_block_keeps_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_good_block_replaces_the_file(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_place_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write here"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_json_is_sorted_and_checksums_are_those_of_the_bytes(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"b": "Å", "a": [1, 2]})
    assert path.read_text(encoding="utf-8") == '{\n  "a": [\n    1,\n    2\n  ],\n  "b": "Å"\n}\n'
    assert sha256_file(path) == sha256_text(path.read_text(encoding="utf-8"))
    # FIPS 180-2, example B.1
    assert sha256_text("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    "text, words",
    [
        ("a: 1\na: 2\n", "key 'a' stands twice"),
        ("a: {b: 1, b: 2}\n", "key 'b' stands twice"),
        ("{[a]: 1}\n", "a key that is no word"),
        ("a: 2026-99-99\n", "not valid YAML"),
    ],
)
def test_what_yaml_would_take_in_silence_is_refused(tmp_path, text, words):
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=words):
        read_yaml(file)
    file.write_text("base: &base {a: 1, b: 2}\nown: {<<: *base, b: 3}\n")
    assert read_yaml(file)["own"] == {"a": 1, "b": 3}
