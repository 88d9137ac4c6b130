"""Files written beside the training: in order, with what follows from them in the caller's thread."""

from __future__ import annotations

import threading

import pytest
import torch

from gansweep.runs.writer import Copier, Writer


def test_threaded_work_is_done_in_order_and_its_consequences_here() -> None:
    writer, started, go = Writer(threaded=True), threading.Event(), threading.Event()
    seen: list[tuple[str, bool]] = []
    here = threading.current_thread()

    def first() -> str:
        started.set()
        go.wait(10)
        return "first"

    def then(result: str) -> None:
        seen.append((result, threading.current_thread() is here))

    writer.put(first, then)
    writer.put(lambda: "second", then)
    started.wait(10)
    writer.settle()
    assert seen == [], "nothing is done yet, and nobody waits for it"
    go.set()
    writer.settle(wait=True)
    assert seen == [("first", True), ("second", True)]


def test_an_error_comes_out_where_it_is_waited_for() -> None:
    writer = Writer(threaded=True)
    writer.put(lambda: 1 / 0, print)
    with pytest.raises(ZeroDivisionError):
        writer.settle(wait=True)


def test_leaving_does_what_is_left_and_keeps_the_error_that_ended_the_block() -> None:
    seen: list[int] = []
    with pytest.raises(KeyError), Writer(threaded=True) as writer:
        writer.put(lambda: 1, seen.append)
        writer.put(lambda: 1 // 0, seen.append)
        raise KeyError
    assert seen == [1]


def test_without_a_thread_it_is_done_at_once() -> None:
    seen: list[int] = []
    Writer(threaded=False).put(lambda: 3, seen.append)
    assert seen == [3]


def test_on_the_cpu_nothing_is_copied() -> None:
    payload = {"a": [torch.ones(2)]}
    assert Copier(torch.device("cpu")).take(payload)() is payload
