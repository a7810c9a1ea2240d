"""Several processes with one GPU each: which one this is, and what they exchange.

Each process holds the model and runs the same program on the same rows. It computes its share of the completions and of
the forward passes. Results and gradients are combined, so that all processes go on with equal weights. Only the first
process writes files. A launcher starts them: `--processes N`, torchrun or `accelerate launch`.
"""

import atexit
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

from lowmed.errors import LowmedError, SetupError

T = TypeVar("T")
R = TypeVar("R")

RANK, WORLD_SIZE, LOCAL_RANK = "RANK", "WORLD_SIZE", "LOCAL_RANK"  # set by every launcher
VISIBLE = "CUDA_VISIBLE_DEVICES"
# Other libraries would divide the work a second time.
_HIDDEN = (RANK, WORLD_SIZE, LOCAL_RANK, "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "ROLE_WORLD_SIZE")
_SHARDED = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}
_PATIENCE = timedelta(days=2)  # the first process may wait for a judge. A launcher notices processes that ended.
_ROUND = 16  # results of a process in one exchange


@dataclass(frozen=True)
class Place:
    """The place of this process.

    Attributes:
        rank: its number.
        size: number of processes.
        local_rank: its number on this machine.
    """

    rank: int
    size: int
    local_rank: int


class LostProcessError(LowmedError):
    """Another process of the same run ended."""


ALONE = Place(0, 1, 0)
_taken: list[Place] = []  # the place of this process, once it takes part
_before_exchange: list[Callable[[], None]] = []  # at most one


@cache
def launched() -> Place:
    """The place that the variables of a launcher give this process.

    Raises:
        SetupError: a variable is not a number, or the launcher divides the model.
    """
    values = []
    for name, default in ((RANK, "0"), (WORLD_SIZE, "1"), (LOCAL_RANK, "0")):
        text = os.environ.get(name, default)
        if not text.isdecimal():
            raise SetupError(
                f"{name}={text} is not a number", "environment", f"unset {name}, or start with --processes N"
            )
        values.append(int(text))
    rank, size, local_rank = values
    if size > 1:
        for name, title in _SHARDED.items():
            if os.environ.get(name, "").lower() in ("1", "true"):
                raise SetupError(
                    f"{title} of the launcher would divide rows and optimizer too",
                    f"{name} of the launcher",
                    "use the type MULTI_GPU in `accelerate config`, or --processes N; model.shard=fsdp divides a model",
                )
    return Place(rank, size, local_rank) if size > 1 else ALONE


def take_part() -> None:
    """Take the place that the launcher gives. Commands that do not share their work run as if they were alone.

    Raises:
        SetupError: as `launched`.
    """
    _taken[:] = [launched()]


def place() -> Place:
    """The place of this process: alone, unless it takes part."""
    return _taken[0] if _taken else ALONE


def size() -> int:
    """Number of processes."""
    return place().size


def is_first() -> bool:
    """Whether this process writes files and prints."""
    return place().rank == 0


@cache
def use_one_gpu() -> None:
    """Let this process see one GPU: that of its local rank. transformers would divide batches over all that it sees.

    Call it before CUDA is used. Nothing happens without an NVIDIA driver.

    Raises:
        SetupError: there are fewer GPUs than processes.
    """
    if not driver_present():
        return
    local_rank, visible = place().local_rank, os.environ.get(VISIBLE)
    if visible is None:
        os.environ[VISIBLE] = str(local_rank)
        return
    names = [name for name in visible.split(",") if name.strip()]
    if names and local_rank >= len(names):
        raise SetupError(
            f"process {local_rank + 1} of this machine has no GPU: {VISIBLE} names {len(names)}",
            f"{VISIBLE}={visible}",
            f"use at most {len(names)} processes, or name more GPUs",
        )
    os.environ[VISIBLE] = names[local_rank] if names else ""


def driver_present() -> bool:
    """Whether an NVIDIA driver is installed, even if torch cannot use it."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def join() -> None:
    """Take part, and connect this process with the others. Nothing happens alone, or in a second call.

    Raises:
        SetupError: a variable of the launcher is missing, or the others cannot be reached.
    """
    take_part()
    here = place()
    if here.size == 1:
        return
    use_one_gpu()
    import torch
    from torch import distributed

    if distributed.is_initialized():
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        distributed.init_process_group(backend, rank=here.rank, world_size=here.size, timeout=_PATIENCE)
    except (ValueError, RuntimeError) as error:  # of torch: a missing variable, an address without an answer
        raise SetupError(
            f"process {here.rank + 1} of {here.size} cannot reach the others: {str(error).splitlines()[0]}",
            "MASTER_ADDR and MASTER_PORT",
            "start all processes with --processes N, torchrun or accelerate launch",
        ) from error
    atexit.register(distributed.destroy_process_group)
    for name in _HIDDEN:
        os.environ.pop(name, None)


def require_single(command: str) -> None:
    """Refuse a command that cannot share its work.

    Raises:
        SetupError: a launcher has started several processes.
    """
    if launched().size > 1:
        raise SetupError(
            f"`lowmed {command}` runs in a single process",
            f"{WORLD_SIZE}={launched().size}",
            "start it without torchrun and accelerate launch",
        )


def gather(value: T) -> list[T]:
    """The values of all processes, in the order of their ranks, in every process.

    Raises:
        LostProcessError: another process ended.
    """
    if size() == 1:
        return [value]
    values: list[Any] = [None] * size()
    _exchange(lambda distributed: distributed.all_gather_object(values, value))
    return values


def from_first(compute: Callable[[], T]) -> T:
    """The result of a function that only the first process calls, in every process.

    Raises:
        LowmedError: the error of the function, in every process.
        LostProcessError: another process ended.
    """
    if size() == 1:
        return compute()
    outcome: list[Any] = [None, None]
    if is_first():
        try:
            outcome = [compute(), None]
        except LowmedError as error:
            outcome = [None, error]
    _exchange(lambda distributed: distributed.broadcast_object_list(outcome, src=0))
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]  # type: ignore[no-any-return]


def divide(items: Sequence[T], work: Callable[[Sequence[T]], Iterator[R]]) -> Generator[R, None, None]:
    """The results of some work on all items, of which each process does its share. Every process gets all results.

    Args:
        items: the same in every process.
        work: computes the results of some items, one after the other.
    """
    if size() == 1:
        yield from work(items)
        return
    own = work(items[place().rank :: size()])

    def part() -> list[R]:
        with lost_errors():
            return list(islice(own, _ROUND))

    while any(parts := gather(part())):
        yield from chain.from_iterable(parts)


def sum_tensor(tensor: Any) -> None:
    """Replace a tensor by the sum of those of all processes, which is the same in each.

    Raises:
        LostProcessError: another process ended.
    """
    if size() > 1:
        _exchange(lambda distributed: distributed.all_reduce(tensor))


def sum_at_once(tensor: Any) -> None:
    """As `sum_tensor`, without what comes before an exchange.

    Raises:
        LostProcessError: another process ended.
    """
    _call(lambda distributed: distributed.all_reduce(tensor))


def before_exchange(wait: Callable[[], None] | None) -> None:
    """Call this function before each exchange from now on, or none. It returns once all processes have called it."""
    _before_exchange[:] = [wait] if wait else []


def _exchange(call: Callable[[Any], object]) -> None:
    for wait in _before_exchange:
        wait()
    _call(call)


def _call(call: Callable[[Any], object]) -> None:
    from torch import distributed

    try:
        call(distributed)
    except RuntimeError as error:  # of gloo and NCCL
        raise _lost() from error


@contextmanager
def lost_errors() -> Iterator[None]:
    """Turn the errors of gloo and NCCL in code of other libraries, which gathers weights, into a LostProcessError."""
    try:
        yield
    except RuntimeError as error:
        if size() > 1 and any(library in str(error) for library in ("gloo", "NCCL")):
            raise _lost() from error
        raise


def _lost() -> LostProcessError:
    here = place()
    return LostProcessError(
        "another process of this run ended",
        f"process {here.rank + 1} of {here.size} lost its connection",
        "see the error of the other; then --resume the run, with any number of processes",
    )
