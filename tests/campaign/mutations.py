"""Ways to change a file: its bytes, or the values that it holds."""

import copy
import io
import json
from typing import Any

import torch
import yaml
from hypothesis import strategies as st

from stickgen.digests import DIGEST_KEY

_DEEP: Any = []
for _ in range(2000):
    _DEEP = [_DEEP]

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, 2**63, 10**30, 10**400, 0.5, -0.0, 1e308, float("inf"), float("nan"), "", " ",
    "a", "x" * 5000, "\ud800", "…", "null", "${oc.env:HOME}", "${hydra:runtime.cwd}", "???", "(a+)+$", "(.*)*(.*)*x",
    "(?:(?:.*)*)*!", "[", "a{99999999}", "../../x", "/dev/zero", "/", [], {}, [None], [[]], {"": ""}, {"a": {"b": []}},
    [1, "a", None], ["x"] * 3, -1e-320, "1e999", "0x10", "bfloat16", "auto", "causal",
]  # fmt: skip
"""What stands where something else is expected."""

TENSORS: list[Any] = [
    torch.zeros(0), torch.zeros(()), torch.ones(1), torch.ones(3, 3, dtype=torch.float64),
    torch.full((2, 2), torch.nan),
    torch.full((4,), torch.inf), torch.ones(2, 2, dtype=torch.int64), torch.ones(2, dtype=torch.bool),
    torch.ones(2, dtype=torch.complex64), torch.ones(2, 2).to_sparse(), torch.zeros(1).expand(2**20, 2**20),
    torch.ones(2, 2, dtype=torch.bfloat16), torch.full((3, 20), 1e300, dtype=torch.float64), torch.zeros(1, 1, 1, 1, 1),
    "not a tensor", None, 3, [], {},
]  # fmt: skip
"""What stands in the place of a tensor."""


@st.composite
def bytes_changed(draw: st.DrawFn, original: bytes) -> bytes:
    """The file with some bytes flipped, cut, added, doubled or exchanged."""
    content = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        if not content:
            break
        # Heads of files are where their structure is.
        at = draw(st.integers(0, len(content) - 1) | st.integers(0, min(len(content) - 1, 400)))
        length = draw(st.sampled_from((1, 1, 2, 4, 8, 64)))
        match draw(st.integers(0, 5)):
            case 0:
                content[at] ^= 1 << draw(st.integers(0, 7))
            case 1:
                del content[at:]
            case 2:
                content[at:at] = draw(st.binary(min_size=1, max_size=16))
            case 3:
                content[at : at + length] = bytes(draw(st.sampled_from((0, 255, 45, 57))) for _ in range(length))
            case 4:
                content[at:at] = content[at : at + 64]
            case _:
                del content[at : at + length]
    return bytes(content)


@st.composite
def values_changed(draw: st.DrawFn, original: Any, values: list[Any]) -> Any:
    """Plain values with some replaced, left out or renamed."""
    content = [copy.deepcopy(original)]
    for _ in range(draw(st.integers(1, 3))):
        holder: Any = content
        key: Any = 0
        while isinstance(holder[key], dict | list) and holder[key] and draw(st.integers(0, 5)):
            holder = holder[key]
            key = draw(st.sampled_from(list(holder) if isinstance(holder, dict) else list(range(len(holder)))))
        match draw(st.integers(0, 4)):
            case 0 if holder is not content:
                del holder[key]
                if not holder:
                    break
            case 1 if isinstance(holder, dict):
                new = draw(st.sampled_from([value for value in VALUES if isinstance(value, str)]))
                holder[new] = holder.pop(key)
            case _:
                holder[key] = _own(draw(st.sampled_from(values)))
    return content[0]


def _own(value: Any) -> Any:
    """Return a copy, since a later change may go into the value; what is too deep to copy is not gone into either."""
    try:
        return copy.deepcopy(value)
    except RecursionError:
        return value


def json_changed(original: bytes) -> st.SearchStrategy[bytes]:
    """A JSON file with other values."""
    return values_changed(json.loads(original), [*VALUES, _DEEP]).map(_to_json)


def yaml_changed(original: bytes) -> st.SearchStrategy[bytes]:
    """A YAML file with other values."""
    plain = [value for value in VALUES if value != "\ud800"]
    return values_changed(yaml.safe_load(original), plain).map(lambda v: yaml.safe_dump(v).encode("utf-8", "replace"))


def torch_changed(original: bytes) -> st.SearchStrategy[bytes]:
    """A file of torch's with other tensors and values."""
    content = torch.load(io.BytesIO(original), weights_only=True)
    return values_changed(content, [*VALUES, *TENSORS, *TENSORS]).map(_to_torch)


def safetensors_changed(original: bytes) -> st.SearchStrategy[bytes]:
    """A safetensors file whose header says something else."""
    size = int.from_bytes(original[:8], "little")
    header, body = json.loads(original[8 : 8 + size]), original[8 + size :]

    def joined(changed: Any) -> bytes:
        text = _to_json(changed)
        return len(text).to_bytes(8, "little") + text + body

    # A stranger's file has the digest of what it says, or none.
    own = {key: text for key, text in header.get("__metadata__", {}).items() if key != DIGEST_KEY}
    if own:
        header["__metadata__"] = own
    inner = {key: json.loads(text) for key, text in own.items() if text[:1] == "{"}
    within = values_changed(inner, VALUES).map(lambda v: joined({**header, "__metadata__": {**own, **_texts(v)}}))
    return values_changed(header, VALUES).map(joined) | (within if inner else st.nothing())


def _texts(values: Any) -> dict[str, str]:
    return {str(k): _to_json(v).decode() for k, v in values.items()} if isinstance(values, dict) else {}


def _to_json(value: Any) -> bytes:
    try:
        return json.dumps(value).encode()
    except RecursionError:
        return b"[" * 2000 + b"]" * 2000


def _to_torch(value: Any) -> bytes:
    saved = io.BytesIO()
    torch.save(value, saved)
    return saved.getvalue()


def changed(name: str, original: bytes) -> st.SearchStrategy[bytes]:
    """A file of this name, changed in its bytes or in what it says."""
    by_ending = {
        (".json", ".motion"): json_changed,
        (".yaml",): yaml_changed,
        (".pt", ".pth", ".ckpt"): torch_changed,
        (".safetensors",): safetensors_changed,
    }
    for endings, strategy in by_ending.items():
        if name.endswith(endings):
            return bytes_changed(original) | strategy(original) | strategy(original)
    return bytes_changed(original)
