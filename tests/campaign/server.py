"""Runs commands with faults, each in a fork of a process that has loaded everything: seconds of imports are paid once.

Reads requests from standard input and answers on standard output, a JSON object a line, in the order in which commands
end.
"""

import json
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 900
"""Seconds after which a command is taken to hang."""


def main() -> None:
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    load()
    print(json.dumps({"ready": True}), file=answers, flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that answer
    for line in sys.stdin:
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            request = json.loads(line)
            pid = os.fork()
            if pid == 0:
                child(request)
            os.write(answers.fileno(), (json.dumps({"id": request["id"], "status": wait(pid)}) + "\n").encode())
            os._exit(0)


def load() -> None:
    """Import what the commands need, and let them make up embeddings."""
    sys.path.insert(0, str(ROOT))
    import hydra.core.plugins
    import lightning  # noqa: F401
    import numpy as np
    import PIL.GifImagePlugin
    import PIL.PngImagePlugin  # noqa: F401
    import torch

    import stickgen.cli
    import stickgen.evaluation.evaluate
    import stickgen.export.card
    import stickgen.export.convert
    import stickgen.export.merge
    import stickgen.export.unmerge
    import stickgen.export.verify
    import stickgen.mocap.prepare
    import stickgen.reports.compare
    import stickgen.sweeps.job
    import stickgen.sweeps.report
    import stickgen.text.encoder
    import stickgen.text.prompts
    from stickgen.config import register
    from stickgen.sample import SAMPLE_INFO

    try:
        import huggingface_hub  # noqa: F401
        import optuna  # noqa: F401
        import tensorboard  # noqa: F401
        from lightning.pytorch.loggers import TensorBoardLogger  # noqa: F401
        from torch.utils.tensorboard import SummaryWriter  # noqa: F401
    except ImportError:
        pass
    torch.set_num_threads(1)
    register()
    hydra.core.plugins.Plugins.instance()

    class Encoder:
        """In the place of a language model, which takes seconds to load and writes nothing."""

        record = SAMPLE_INFO["text_encoder"]

        def __init__(self, *_: Any, **__: Any) -> None:
            """Take whatever the real one takes."""

        def encode(self, texts: Any) -> Any:
            return np.stack([np.cos(np.arange(1024) * (1 + len(text))) for text in texts]).astype(np.float32)

    stickgen.text.encoder.TextEncoder = Encoder  # type: ignore[misc,assignment]
    stickgen.text.prompts.TextEncoder = Encoder  # type: ignore[misc,assignment]


def child(request: dict[str, Any]) -> None:
    """Run a command in this fork and end it."""
    status = 1
    output = os.open(request["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    sys.stdin = open(os.devnull)  # noqa: SIM115
    os.chdir(request["cwd"])
    os.environ.update(request.get("env", {}))
    import tempfile

    tempfile.tempdir = None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    from tests.campaign.faults import Faults

    faults = Faults([Path(root) for root in request["roots"]], request.get("at", 0), request.get("kind", "EIO"))
    try:
        faults.install()
        script, *arguments = request["command"]
        sys.argv = [script, *arguments]
        if script == "stickgen":
            from stickgen.cli import main as run

            run()
        else:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        status = 0
    except SystemExit as stopped:
        status = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        try:
            import logging

            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            if request.get("trace"):
                handle = os.open(request["trace"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
                os.write(handle, json.dumps(faults.passed).encode())
            os._exit(status)


def wait(pid: int) -> int:
    """Return the exit status of a fork, negative for a signal; one that hangs is killed and gives 124."""
    hung = []

    def kill(*_: Any) -> None:
        hung.append(pid)
        os.kill(pid, signal.SIGKILL)

    signal.signal(signal.SIGALRM, kill)
    signal.alarm(LIMIT)
    _, status = os.waitpid(pid, 0)
    signal.alarm(0)
    return 124 if hung else os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main()
