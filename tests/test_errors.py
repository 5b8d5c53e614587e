from stickgen.errors import LONGEST_MESSAGE, AdapterError


def test_a_message_with_an_endless_name_keeps_its_beginning_and_its_end() -> None:
    short = "a.safetensors: holds no adapter; name another"
    assert str(AdapterError(short)) == short
    told = str(AdapterError(f"a.safetensors: unknown tensor {'x' * 100_000}; name another adapter"))
    assert told.startswith("a.safetensors: unknown tensor xxx")
    assert told.endswith("xxx; name another adapter")
    assert len(told) < LONGEST_MESSAGE + 10
