"""What a bug report needs to know of a machine."""

import typer


def info() -> None:
    """Print versions, processors, devices and measured speeds, for a bug report."""
    import os

    import torch

    from stickgen.artifacts.run import environment
    from stickgen.config import PROJECT
    from stickgen.generation.stepping import has_few_rows
    from stickgen.training.precision import bfloat16_speed, device_type

    facts = environment()
    threads = torch.get_num_threads()
    lines = {
        "stickgen": f"{facts['stickgen']}, {PROJECT}",
        "git revision": facts["git_revision"] or "none, not a git checkout",
        "python": f"{facts['python']}, {facts['platform']}",
        "packages": ", ".join(f"{name} {version or 'missing'}" for name, version in facts["packages"].items()),
        "processor": f"{os.cpu_count()} cores, {threads} threads, {torch.backends.cpu.get_cpu_capability()}",
    }
    lines |= {f"device {kind}": name for kind, name in _devices().items()}
    device = device_type("auto")
    lines |= {
        f"bfloat16 on {kind}": f"{bfloat16_speed(kind):.3g} × the speed of float32 in matrix products"
        for kind in dict.fromkeys(("cpu", device))
    }
    lines["generation"] = "weights divided among threads" if has_few_rows(torch.ones(1, 1)) else "PyTorch's products"
    width = max(map(len, lines))
    for name, value in lines.items():
        typer.echo(f"{name:<{width}}  {value}")


def _devices() -> dict[str, str]:
    """Return the accelerators by their PyTorch names, with model and memory where they are known."""
    import torch

    if not torch.accelerator.is_available():
        return {"": "none, CPU only"}
    kind = torch.accelerator.current_accelerator()
    assert kind is not None
    found = {}
    for index in range(torch.accelerator.device_count()):
        name = f"{kind.type}:{index}"
        found[name] = kind.type
        if kind.type == "cuda":
            properties = torch.cuda.get_device_properties(index)
            found[name] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    return found
