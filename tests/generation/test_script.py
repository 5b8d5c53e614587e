import pytest

from stickgen.errors import ConfigError
from stickgen.generation.script import Part, read_script


def test_a_plain_prompt_is_one_part() -> None:
    assert read_script("a person walks", 50) == (Part("a person walks", 50),)
    assert read_script("a person walks [slowly]", 50) == (Part("a person walks [slowly]", 50),)


def test_the_last_part_fills_the_rest() -> None:
    script = read_script("A person walks. [3] A person waves. [1.5 s] A person bows.", 150)
    assert script == (Part("A person walks.", 75), Part("A person waves.", 38), Part("A person bows.", 37))


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("A person walks. [3]", r"part 2 has no description"),
        ("[1] A person walks.", r"part 1 has no description"),
        ("A person walks. [4] A person waves.", r"take longer than the 4 s"),
        ("A person walks. [0] A person waves.", r"\[0\]: seconds expected, at least 0\.04"),
        ("A person walks. [-1] A person waves.", r"\[-1\]: seconds expected"),
        ("A person walks. [1.2.3] A person waves.", r"\[1\.2\.3\]: seconds expected"),
    ],
)
def test_mistakes_are_one_line(prompt: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        read_script(prompt, 100)
    assert "\n" not in str(error.value)
