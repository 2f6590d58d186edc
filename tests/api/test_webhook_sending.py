"""How receivers are told: how often, for how long, and what they cannot do."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from fooocusapi.jobs.clock import make_clock
from fooocusapi.jobs.database import connected, embedded_url, open_database
from fooocusapi.jobs.outbox import Message, Outbox, new_message_id, write_messages
from fooocusapi.schemas.vocabulary import DeliveryStatus, MessageType
from fooocusapi.webhooks import WAITS_S, Rules, Webhooks
from tests.deadline import wait_until
from tests.fakes import WAIT_S, FakeReceiver
from tests.jobs import make_stored, make_view, open_store

AT_ONCE = (0.01,) * 7
HOUR_S = 3600


class Post:
    """An outbox and, once started, what sends out of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = open_database(embedded_url(folder))
        self.outbox = Outbox(self.database)
        self.clock = make_clock()
        # Messages of jobs that are gone would be forgotten.
        self.job = make_view()
        open_store(folder).accept(self.job, make_stored())

    def write(self, target: str | None) -> str:
        """Have a receiver told; the id of the message."""
        now_ms = self.clock()
        message = Message(
            id=new_message_id(),
            job_id=self.job.id,
            type=MessageType.COMPLETED,
            target=target,
            body='{"job_id": "x", "job_result": []}',
            made_ms=now_ms,
            due_ms=now_ms,
        )
        with connected(self.database) as connection:
            write_messages(connection, [message])
        return message.id

    def find(self, message_id: str) -> Message:
        records = self.outbox.page(limit=500)
        return next(one.message for one in records if one.message.id == message_id)

    def wait_for_attempt(self, message_id: str) -> Message:
        wait_until(lambda: self.find(message_id).attempts > 0)
        return self.find(message_id)

    def wait_for_end(self, message_id: str) -> Message:
        wait_until(lambda: self.find(message_id).status is not DeliveryStatus.PENDING)
        return self.find(message_id)


Start = Callable[..., Webhooks]


@pytest.fixture
def receiver() -> Iterator[FakeReceiver]:
    receiver = FakeReceiver()
    yield receiver
    receiver.close()


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    post = Post(tmp_path)
    yield post
    post.database.dispose()


@pytest.fixture
def start(post: Post) -> Iterator[Start]:
    """Starts sending by rules that differ from the usual ones as stated."""
    with ExitStack() as stack:

        def start(**changes: object) -> Webhooks:
            webhooks = Webhooks(post.outbox, Rules(**changes), post.clock)  # type: ignore[arg-type]
            webhooks.start()
            stack.callback(webhooks.stop, 0)
            return webhooks

        yield start


def test_f21_a_receiver_that_fails_three_times_is_told_the_fourth_time_under_the_same_id(
    post: Post, start: Start, receiver: FakeReceiver
) -> None:
    receiver.status = 500
    message_id = post.write(receiver.url)
    start(waits_s=AT_ONCE, secrets=(b"x" * 24,))
    for _ in range(3):
        assert receiver.next()["job_result"] == []
    receiver.status = 200
    assert post.wait_for_end(message_id).status is DeliveryStatus.DELIVERED
    ids = {headers["webhook-id"] for headers, _ in receiver.seen}
    assert ids == {message_id}
    numbers = [body["attempt"] for body in list(receiver.bodies.queue)]
    assert numbers[-1] == post.find(message_id).attempts >= 4


def test_f21_a_receiver_that_refuses_connections_is_given_up_after_eight_attempts(
    post: Post, start: Start
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    message_id = post.write(url)
    start(waits_s=AT_ONCE)
    message = post.wait_for_end(message_id)
    assert (message.status, message.attempts, message.answer) == (DeliveryStatus.FAILED, 8, None)
    assert message.problem


@pytest.mark.parametrize(("status", "attempts"), [(410, 1), (301, 8), (404, 8)])
def test_f21_no_redirect_is_followed_and_who_is_gone_is_left_alone(
    post: Post, start: Start, receiver: FakeReceiver, status: int, attempts: int
) -> None:
    receiver.status = status
    message_id = post.write(receiver.url)
    start(waits_s=AT_ONCE)
    message = post.wait_for_end(message_id)
    assert (message.status, message.answer) == (DeliveryStatus.FAILED, status)
    assert (message.attempts, len(receiver.seen)) == (attempts, attempts)


def test_f21_a_receiver_that_hangs_delays_no_other_one(
    post: Post, start: Start, receiver: FakeReceiver
) -> None:
    hanging = FakeReceiver()
    hanging.hold.clear()
    stuck = [post.write(hanging.url) for _ in range(100)]
    message_id = post.write(receiver.url)
    start(timeout_s=5.0)
    post.wait_for_end(message_id)
    assert post.find(stuck[0]).attempts == 0
    assert post.wait_for_attempt(stuck[0]).problem == "no answer within 5 s"
    hanging.close()


def test_f21_an_attempt_ends_after_its_time_although_the_receiver_goes_on_sending(
    post: Post, start: Start
) -> None:
    def dribble(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"x: y\r\n")
            time.sleep(0.02)

    with serving(dribble) as url:
        message_id = post.write(url)
        start(timeout_s=0.2)
        assert post.wait_for_attempt(message_id).problem == "no answer within 0.2 s"


def test_f21_a_large_answer_is_not_read(post: Post, start: Start) -> None:
    taken: list[int] = []

    def flood(connection: socket.socket) -> None:
        # Small, so that what was not read cannot hide in the buffer of this side.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 200000000\r\n\r\n")
        while True:
            taken.append(connection.send(bytes(4096)))

    with serving(flood) as url:
        message_id = post.write(url)
        start()
        assert post.wait_for_end(message_id).status is DeliveryStatus.DELIVERED
    assert sum(taken) < 20_000_000


def test_f21_a_receiver_that_does_not_speak_tls_is_tried_again(post: Post, start: Start) -> None:
    def speak_no_tls(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    with serving(speak_no_tls) as url:
        message_id = post.write(url.replace("http:", "https:"))
        start()
        message = post.wait_for_attempt(message_id)
    assert (message.status, message.answer) == (DeliveryStatus.PENDING, None)
    assert "SSL" in str(message.problem)


class serving:  # noqa: N801  (used as a function)
    """A server that does with its first connection as stated; gives its address."""

    def __init__(self, handle: Callable[[socket.socket], None]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        # Small, for the same reason.
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.handle = handle
        self.thread = threading.Thread(target=self.serve)

    def serve(self) -> None:
        connection, _ = self.listener.accept()
        with closing(connection):
            connection.settimeout(WAIT_S)
            try:
                self.handle(connection)
            except OSError:
                return

    def __enter__(self) -> str:
        self.thread.start()
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/"

    def __exit__(self, *_: object) -> None:
        self.thread.join(WAIT_S)
        self.listener.close()


def test_the_schedule_lasts_three_hours() -> None:
    assert len(WAITS_S) == 7
    assert sum(WAITS_S) == pytest.approx(3 * HOUR_S, rel=0.02)


@pytest.mark.parametrize(
    ("status", "retry_after", "least_s", "most_s"),
    [
        (500, None, 4.5, 5.5),
        (500, "60", 4.5, 5.5),
        (429, "60", 60, 60),
        (503, "1", 4.5, 5.5),
        (503, "999999999", 24 * HOUR_S, 24 * HOUR_S),
        (503, "in a while", 4.5, 5.5),
    ],
)
def test_the_next_attempt_waits_as_the_schedule_or_the_receiver_says(
    post: Post,
    start: Start,
    receiver: FakeReceiver,
    status: int,
    retry_after: str | None,
    least_s: float,
    most_s: float,
) -> None:
    receiver.status = status
    receiver.headers = {} if retry_after is None else {"Retry-After": retry_after}
    message_id = post.write(receiver.url)
    before_ms = post.clock()
    start()
    message = post.wait_for_attempt(message_id)
    assert message.status is DeliveryStatus.PENDING
    wait_s = (message.due_ms - before_ms) / 1000
    assert least_s <= wait_s <= most_s + (post.clock() - before_ms) / 1000


def test_a_receiver_may_name_the_time_of_the_next_attempt(
    post: Post, start: Start, receiver: FakeReceiver
) -> None:
    receiver.status = 504
    receiver.headers = {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(hours=1))}
    message_id = post.write(receiver.url)
    before_ms = post.clock()
    start()
    wait_s = (post.wait_for_attempt(message_id).due_ms - before_ms) / 1000
    # The date has whole seconds, and the machine may be slow.
    assert HOUR_S - 30 <= wait_s <= HOUR_S + 1


@pytest.mark.parametrize(
    "target", ["http://example.com/\x01", "http://xn--a/", "ftp://x/"], ids=ascii
)
def test_what_is_no_address_is_given_up_at_once(post: Post, start: Start, target: str) -> None:
    message_id = post.write(target)
    start(waits_s=AT_ONCE)
    message = post.wait_for_end(message_id)
    assert (message.status, message.attempts) == (DeliveryStatus.FAILED, 1)


def test_messages_to_a_common_receiver_that_is_none_any_more_are_given_up(
    post: Post, start: Start
) -> None:
    message_id = post.write(None)
    start()
    assert post.wait_for_end(message_id).problem == "no --webhook-url is set any more"


def test_f22_what_was_not_taken_is_told_by_the_next_server_under_the_same_id(
    post: Post, start: Start, receiver: FakeReceiver
) -> None:
    receiver.hold.clear()
    message_id = post.write(receiver.url)
    first = start(secrets=(b"x" * 24,))
    wait_until(lambda: len(receiver.seen) == 1)
    first.stop(0)
    assert post.find(message_id).attempts == 0
    receiver.hold.set()
    start(secrets=(b"x" * 24,))
    assert post.wait_for_end(message_id).status is DeliveryStatus.DELIVERED
    assert {headers["webhook-id"] for headers, _ in receiver.seen} == {message_id}


def test_stopping_sends_what_is_due(post: Post, start: Start, receiver: FakeReceiver) -> None:
    webhooks = start()
    messages = [post.write(receiver.url) for _ in range(30)]
    webhooks.stop(WAIT_S)
    assert {post.find(one).status for one in messages} == {DeliveryStatus.DELIVERED}


def test_messages_of_a_removed_job_are_sent_and_forgotten(
    post: Post, start: Start, receiver: FakeReceiver
) -> None:
    post.write(receiver.url)
    open_store(post.folder).remove(post.job.id)
    start()
    receiver.next()
    wait_until(lambda: post.outbox.page(limit=1) == [])
