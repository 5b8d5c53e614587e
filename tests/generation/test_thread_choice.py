from collections.abc import Iterator

import pytest
import torch

from stickgen.generation.thread_choice import ThreadChoice


class Machine:
    """A clock that a step moves on by what it takes on so many threads."""

    def __init__(self, alone: float, together: float) -> None:
        self.now = 0.0
        self.seconds = {1: alone, 4: together}
        self.used: list[int] = []
        self.pace = ThreadChoice(lambda: self.now)

    def run(self, steps: int) -> list[int]:
        """Return the numbers of threads of some more steps."""
        before = len(self.used)
        for _ in range(steps):
            with self.pace.step():
                self.used.append(torch.get_num_threads())
                self.now += self.seconds[self.used[-1]]
        return self.used[before:]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_the_faster_number_of_threads_is_taken_and_the_other_tried_now_and_then() -> None:
    used = Machine(alone=0.02, together=0.01).run(1000)
    assert used[:5] == [4, 1, 4, 4, 4]
    assert 10 < used.count(1) < 50
    assert torch.get_num_threads() == 4


def test_trials_cost_little_where_threads_wait_for_a_core() -> None:
    machine = Machine(alone=0.01, together=1.0)
    used = machine.run(4000)
    assert 1 < used.count(4) < 5
    assert machine.now < 1.15 * 4000 * 0.01


def test_it_follows_the_machine_and_not_a_single_slow_step() -> None:
    machine = Machine(alone=0.02, together=0.01)
    machine.run(20)
    machine.seconds[4] = 0.03
    assert machine.run(1) == [4]
    machine.seconds[4] = 0.01
    assert set(machine.run(15)) == {4}
    machine.seconds[4] = 0.5
    assert machine.run(10)[1:] == [1] * 9
    machine.seconds[4] = 0.01
    assert machine.run(600)[-20:].count(4) >= 19


def test_a_step_that_fails_leaves_the_threads_as_they_were() -> None:
    with pytest.raises(RuntimeError), ThreadChoice(iter((0.0, 0.0)).__next__).step():
        torch.ones(2) @ torch.ones(3)
    assert torch.get_num_threads() == 4


def test_one_thread_has_no_choice() -> None:
    torch.set_num_threads(1)
    with ThreadChoice().step():
        assert torch.get_num_threads() == 1
