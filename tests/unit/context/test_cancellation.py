"""CancellationToken: asked once, told to everybody, from any thread."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from stageflow import CancellationToken


def test_it_is_open_until_somebody_asks() -> None:
    token = CancellationToken()
    assert not token.is_cancelled
    assert token.reason is None
    token.cancel("enough")
    assert token.is_cancelled
    assert token.reason == "enough"


def test_the_first_reason_stays() -> None:
    token = CancellationToken()
    token.cancel("first")
    token.cancel("second")
    assert token.reason == "first"
    assert "first" in repr(token)


def test_an_empty_reason_is_a_reason() -> None:
    token = CancellationToken()
    token.cancel("")
    assert token.is_cancelled
    assert "cancelled" in repr(token)


def test_everybody_is_told_once_in_order() -> None:
    token, told = CancellationToken(), []
    for name in ("a", "b"):
        token.on_cancel(lambda name=name: told.append(name))
    token.on_cancel(lambda: told.append("before them"), first=True)
    token.cancel()
    token.cancel()
    assert told == ["before them", "a", "b"]


def test_who_comes_late_is_told_at_once() -> None:
    token, told = CancellationToken(), []
    token.cancel()
    forget = token.on_cancel(lambda: told.append("late"))
    assert told == ["late"]
    forget()


def test_who_takes_it_back_is_not_told() -> None:
    token, told = CancellationToken(), []
    forget = token.on_cancel(lambda: told.append("gone"))
    token.on_cancel(lambda: told.append("here"))
    forget()
    forget()
    token.cancel()
    assert told == ["here"]


def test_one_that_raises_is_logged_and_keeps_nobody_from_being_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    token, told = CancellationToken(), []

    def raises() -> None:
        raise ValueError("cannot hear")

    token.on_cancel(raises)
    token.on_cancel(lambda: told.append("told"))
    token.cancel()
    assert told == ["told"]
    assert "cannot hear" in caplog.text


def test_a_callback_may_ask_and_register_itself() -> None:
    token, told = CancellationToken(), []

    def again() -> None:
        token.cancel("again")
        token.on_cancel(lambda: told.append("inner"))
        told.append("outer")

    token.on_cancel(again)
    token.cancel("first")
    assert told == ["inner", "outer"]
    assert token.reason == "first"


def test_of_many_threads_one_asks_first_and_all_are_told_once() -> None:
    for _ in range(20):
        token, told, lock = CancellationToken(), [], threading.Lock()
        start = threading.Barrier(8)

        def tell(told: list[int] = told, lock: threading.Lock = lock) -> None:
            with lock:
                told.append(1)

        def work(
            number: int, token: CancellationToken = token, start: threading.Barrier = start
        ) -> None:
            start.wait(10)
            if number % 2:
                token.cancel(str(number))
            else:
                token.on_cancel(tell)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, range(8)))
        assert token.reason in {"1", "3", "5", "7"}
        assert len(told) == 4
