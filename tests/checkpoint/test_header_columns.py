"""Large headers go into columns at once: whatever that takes, going entry by entry takes too, with the same answer."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import mutate
from safetensors import safe_open

from qinspect.inspector.checkpoint import Tensor, index, open_checkpoint, safetensors
from qinspect.inspector.checkpoint.columns import Columns, Entries
from qinspect.inspector.checkpoint.file import File
from qinspect.inspector.checkpoint.header_columns import columns_of, weight_map_of
from qinspect.inspector.errors import BrokenFile, QinspectError

_SETTINGS = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
SIZES = {"F32": 4, "I8": 1, "BF16": 2}
A = '"dtype":"F32","shape":[1],"data_offsets":[0,4]'


def header_of(shapes: list[tuple[str, list[int]]], metadata: bool = True) -> tuple[str, int]:
    """A header as the safetensors library writes it, and the bytes of the data."""
    made: dict[str, object] = {"__metadata__": {"format": "pt", "note": "a, b"}} if metadata else {}
    at = 0
    for i, (dtype, shape) in enumerate(shapes):
        n = SIZES[dtype]
        for d in shape:
            n *= d
        made[f"model.layers.{i}.weight"] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + n]}
        at += n
    return json.dumps(made, separators=(",", ":")), at


def written(place: Path, header: bytes, n_data: int) -> File:
    place.write_bytes(len(header).to_bytes(8, "little") + header + bytes(n_data))
    return File(place)


def described(columns: Columns) -> object:
    return [(t.name, t.dtype, t.shape, t.offset, t.file.path) for t in columns.tensors()], columns.metadata


def entry_by_entry(file: File, header: bytes) -> object:
    try:
        return described(safetensors._entry_by_entry(file, header, 8 + len(header)))
    except BrokenFile as e:
        return str(e)


def at_once(file: File, header: bytes) -> object:
    found = columns_of(file, header, 8 + len(header), safetensors._DTYPES)
    return found and described(found)


@settings(_SETTINGS, max_examples=500)
@given(
    seed=st.integers(0, (1 << 64) - 1),
    shapes=st.lists(st.tuples(st.sampled_from(sorted(SIZES)), st.lists(st.integers(0, 5), max_size=4)), max_size=6),
    damaged=st.booleans(),
)
def test_what_goes_at_once_goes_entry_by_entry_too(
    tmp_path_factory: pytest.TempPathFactory, seed: int, shapes: list[tuple[str, list[int]]], damaged: bool
) -> None:
    text, n_data = header_of(shapes, metadata=bool(seed % 2))
    header = mutate(text.encode(), Random(seed)) if damaged else text.encode()
    file = written(tmp_path_factory.getbasetemp() / "mutated.safetensors", header, n_data)
    found = at_once(file, header)
    assert found == entry_by_entry(file, header) or found is None
    if not damaged:
        assert (found is None) == (not shapes)


@pytest.mark.parametrize(
    "header",
    [
        f'{{"a":{{{A}}},"a":{{{A}}}}}',
        f'{{"a":{{{A},"dtype":"F32"}}}}',
        f'{{"a":{{"shape":[9],{A}}}}}',
        f'{{"__metadata__":{{}},"__metadata__":{{}},"a":{{{A}}}}}',
        f'{{"__metadata__":{{"x":"1","x":"2"}},"a":{{{A}}}}}',
        f'{{"__metadata__":{{"x":1}},"a":{{{A}}}}}',
        f'{{"__metadata__":{{"x":"}},"a":{{{A}}}}}',
        f'{{"__metadata__":{{"x":"1"}} "a":{{{A}}}}}',
        '{"__metadata__":{"x":"1"},}',
        f'{{"__metadata__":{{{A}}}}}',
        f'{{"a":{{{A}}},"__metadata__":{{{A}}}}}',
        f'{{"a":{{{A},"more":[{{}}]}}}}',
        f'{{"\\u0061":{{{A}}}}}',
        f'{{"\\ud800":{{{A}}}}}',
        f'{{"é":{{{A}}}}}',
        '{"a":{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}}',
        '{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":[18446744073709551616,0],"data_offsets":[0,0]}}',
        '{"a":{"dtype":"F32","shape":[0,18446744073709551616],"data_offsets":[0,0]}}',
        '{"a":{"dtype":"F32","shape":[-1,-1],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":' + "[" * 5000 + "]" * 5000 + ',"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":[' + "1" * 5000 + '],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F4","shape":[7],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}',
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}',
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}}',
        '{"a":["F32",[1],[0,4]]}',
        f'{{"a":{{{A}}}}} x',
        f'[{{"a":{{{A}}}}}]',
        "{}",
        "",
    ],
)
def test_what_is_unusual_is_left_to_who_knows_what_to_say(tmp_path: Path, header: str) -> None:
    raw = header.encode()
    assert at_once(written(tmp_path / "m.safetensors", raw, 4), raw) is None


def test_spaces_and_data_in_another_order_than_the_names(tmp_path: Path) -> None:
    header = b' { "__metadata__" : { "a" : "b" } ,\n"y": {"shape": [2], "dtype": "I8", "data_offsets": [4, 6]} , '
    header += b'"empty":{"dtype":"I8","shape":[0],"data_offsets":[4,4]},'
    header += b'"x":{"data_offsets":[0,4],"dtype":"F32","shape":[]}}  '
    file = written(tmp_path / "m.safetensors", header, 6)
    assert at_once(file, header) == entry_by_entry(file, header)
    assert at_once(file, header)


def large_pair(folder: Path) -> Path:
    """Two shards whose headers are large, with their index."""
    weight_map = {}
    for shard in range(2):
        header = {}
        for i in range(2000):
            name = f"model.layers.{shard}.mlp.experts.{i}.down_proj.weight"
            header[name] = {"dtype": "I8", "shape": [2, 3], "data_offsets": [6 * i, 6 * i + 6]}
            weight_map[name] = f"model-{shard + 1:05}-of-00002.safetensors"
        raw = json.dumps(header, separators=(",", ":")).encode()
        data = bytes(range(250)) * 48
        (folder / f"model-{shard + 1:05}-of-00002.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def test_entries_are_a_mapping_whose_tensors_are_made_when_they_are_looked_at(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(large_pair(tmp_path))
    entries = checkpoint.entries
    assert entries.columnar
    assert len(entries) == len(list(entries)) == len(entries.keys()) == 4000
    for shard in range(2):
        path = tmp_path / f"model-{shard + 1:05}-of-00002.safetensors"
        with safe_open(path, "np") as library:
            for name in library.keys():  # noqa: SIM118
                t = entries[name]
                assert isinstance(t, Tensor)
                assert (t.name, list(t.shape), t.file.path) == (name, library.get_slice(name).get_shape(), path)
                assert t.read().tolist() == library.get_tensor(name).tolist()
    assert [t.name for t in checkpoint.tensors()] == [e.name for e in entries.values()] == list(entries)
    assert [name for name, e in entries.items() if e.name == name] == list(entries)
    assert "nothing" not in entries
    assert entries.get("nothing") is None
    with pytest.raises(KeyError):
        entries["nothing"]
    assert checkpoint.nbytes == 4000 * 6
    assert (checkpoint.tied(), checkpoint.notes) == ([], ())


def test_a_tensor_in_two_files_and_one_in_none(tmp_path: Path) -> None:
    folder = large_pair(tmp_path)
    place = folder / "model.safetensors.index.json"
    content = json.loads(place.read_text())
    first = next(iter(content["weight_map"]))
    for changed, words in (
        ({first: "model-00002-of-00002.safetensors"}, "names another shard for 1 tensors"),
        ({"none": "model-00002-of-00002.safetensors"}, "names in the index are in no shard"),
    ):
        place.write_text(json.dumps({**content, "weight_map": content["weight_map"] | changed}))
        try:
            said = " ".join(open_checkpoint(folder).notes)
        except QinspectError as e:
            said = str(e)
        assert words in said
    place.write_text(json.dumps(content))
    first_shard = folder / "model-00001-of-00002.safetensors"
    (folder / "model-00002-of-00002.safetensors").write_bytes(first_shard.read_bytes())
    with pytest.raises(BrokenFile, match=r"experts\.0\.down_proj\.weight: the tensor is in two files"):
        open_checkpoint(folder)


def test_entries_of_files_of_two_kinds(tmp_path: Path) -> None:
    text, n = header_of([("F32", [2]), ("I8", [3])])
    file = written(tmp_path / "m.safetensors", text.encode(), n)
    columns = safetensors.read_header(file)
    entries = Entries({"x": columns.tensor(0)})
    entries.add(columns)
    assert not entries.columnar
    assert list(entries) == ["x", "model.layers.0.weight", "model.layers.1.weight"]
    assert [e.name for e in entries.values()] == [
        "model.layers.0.weight",
        "model.layers.0.weight",
        "model.layers.1.weight",
    ]
    assert entries.first_shared(columns) == "model.layers.0.weight"
    assert [form and form[1] for form in entries.tensor_forms()] == [(2,), (2,), (3,)]


@pytest.mark.parametrize(
    ("text", "usual"),
    [
        ('{"weight_map":{"a":"1","b":"2"}}', True),
        ('{"metadata":{"total_size":3},"weight_map":{"a":"1"}}', True),
        ('{"weight_map" : {"a" : "1"} , "metadata" : null}', True),
        ('{"weight_map":{"a":"1","a":"2"}}', False),
        ('{"weight_map":{"a":"1"},"weight_map":{"a":"2"}}', False),
        ('{"metadata":{"x":"y"},"metadata":{},"weight_map":{"a":"1"}}', False),
        ('{"weight_map":{"\\u0061":"1"}}', False),
        ('{"weight_map":{"a":1}}', False),
        ('{"weight_map":{},"more":1}', False),
        ('{"weight_map":{}}', False),
        ("[]", False),
    ],
)
def test_an_index(text: str, usual: bool) -> None:
    found = weight_map_of(text.encode())
    assert found == (json.loads(text)["weight_map"] if usual else None)


def test_an_index_with_a_name_twice_is_refused_however_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "LARGE_HEADER_BYTES", 0)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map":{"a":"1","a":"2"}}')
    with pytest.raises(BrokenFile, match="'a' occurs twice"):
        index.read_weight_map(tmp_path / "model.safetensors.index.json")
