import pytest

from stickgen.errors import DataError
from stickgen.motion.actions import ACTIONS, NUM_ACTIONS, action_index, action_name


def test_positions_that_checkpoints_rely_on() -> None:
    assert len(ACTIONS) == len(set(ACTIONS)) == 46
    assert NUM_ACTIONS == 64
    expected = {"idle": 0, "walk": 1, "running_bases": 15, "punch": 22, "sit": 25, "climbing": 34, "fight_stance": 45}
    assert {name: action_index(name) for name in expected} == expected


def test_there_and_back() -> None:
    assert [action_name(action_index(name)) for name in ACTIONS] == list(ACTIONS)
    assert action_name(46) == "spare_46"
    assert action_name(63) == "spare_63"


def test_unknown_names_are_refused() -> None:
    with pytest.raises(DataError, match="'salsa' is not in the vocabulary"):
        action_index("salsa")
