"""Runs of the real command line in two forked processes, as a launcher would start them."""

import os
import signal
import socket
import sys
import traceback

import torch
from killing import strike

from clip_lightning.__main__ import main


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def fit_as_two(config, run_dir, strategy, *arguments, kill=None):
    """Runs fit in two forks of this process, which find each other as those of torchrun do.

    Args:
        config: Path of the configuration.
        run_dir: The run's folder.
        strategy: Of the trainer.
        *arguments: Further arguments.
        kill: A place and the number of the call, from 1, at which both processes are killed; None for not at all.

    Returns:
        The exit codes; negative for a signal.
    """
    sys.stdout.flush()
    port = str(free_port())
    children = []
    for rank in range(2):
        child = os.fork()
        if child:
            children.append(child)
            continue
        code = 99
        try:
            torch.set_num_threads(1)
            os.environ.update(
                RANK=str(rank), LOCAL_RANK=str(rank), GROUP_RANK="0", WORLD_SIZE="2", LOCAL_WORLD_SIZE="2",
                MASTER_ADDR="127.0.0.1", MASTER_PORT=port, TORCHELASTIC_RUN_ID="tests",
            )  # fmt: skip
            if kill:
                strike(*kill, signal.SIGKILL, 1)
            shared = ["--trainer.devices", "2", "--trainer.strategy", strategy, "--run_dir", str(run_dir)]
            code = main(["fit", "--config", config, *shared, *map(str, arguments)])
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
