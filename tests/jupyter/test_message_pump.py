"""The message pump: the panel's messages are handled, all others are given back in order, also after an error."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
import zmq
from jupyter_client.session import Session

from fluxmagic.jupyter.driving.message_pump import CONTROL, MessagePump, deferred_interrupts


class Stream:
    """As a ZMQStream: a socket, and what is done with a message."""

    def __init__(self, socket, given):
        self.socket = socket
        self._recv_callback = given.append

    def on_recv(self, callback, copy):
        assert not copy
        self._recv_callback = callback

    def handle_one(self):
        """What the event loop does with a message."""
        self._recv_callback(self.socket.recv_multipart(copy=False))

    def _run_callback(self, callback, *args):
        callback(*args)

    def flush(self, flag):
        pass


class FakeKernel:
    """What the pump knows of a kernel, with a real socket and real messages."""

    def __init__(self, context):
        address = f"inproc://{id(self)}"
        self.page, end = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        self.page.bind(address)
        end.connect(address)
        self.sockets = self.page, end
        self.given = []
        self.shell_stream = Stream(end, self.given)
        self.session = Session(key=b"secret")
        self.theirs = Session(key=b"secret")
        self.delivered = []
        self.status = []
        comm = SimpleNamespace(_msg_callback=self.delivered.append)
        self.opened = []
        self.comm_manager = SimpleNamespace(
            comms={"ours": comm, "theirs": comm},
            comm_open=lambda stream, ident, m: self.opened.append(m),
            comm_close=lambda stream, ident, m: self.opened.append(m),
        )
        self.answered = []

        async def kernel_info(stream, ident, m):
            self.answered.append(m["header"]["msg_type"])

        self.shell_handlers = {"kernel_info_request": kernel_info, "comm_info_request": kernel_info}

    def _publish_status(self, status, channel, parent):
        self.status.append((status, parent["header"]["msg_id"]))

    def say(self, kind, content=None):
        m = self.theirs.msg(kind, content or {})
        self.theirs.send(self.page, m, ident=b"page")
        return m["header"]["msg_id"]

    def move(self, comm):
        return self.say("comm_msg", {"comm_id": comm, "data": {"method": "update", "state": {"value": 1}}})

    def back(self):
        """The ids of what was given back, as the kernel would read them."""
        found = []
        for frames in self.given:
            _, parts = self.session.feed_identities(frames, copy=False)
            found.append(self.session.deserialize(parts, content=True, copy=False)["header"]["msg_id"])
        return found


@pytest.fixture
def kernel():
    context = zmq.Context()
    made = FakeKernel(context)
    yield made
    for s in made.sockets:
        s.close(0)
    context.term()


def own(comm):
    return comm == "ours"


def test_the_panels_messages_are_handled_and_the_page_gets_their_status(kernel):
    with MessagePump(kernel, own) as pump:
        assert pump.supported
        sent = [kernel.move("ours"), kernel.move("ours")]
        assert pump() == 2
        assert [m["header"]["msg_id"] for m in kernel.delivered] == sent
        assert kernel.status == [(s, m) for m in sent for s in ("busy", "idle")]
    assert kernel.given == []


def test_other_messages_are_given_back_in_order_and_can_still_be_read(kernel):
    with MessagePump(kernel, own) as pump:
        kept = [kernel.say("execute_request", {"code": "1"}), kernel.move("theirs")]
        kernel.move("ours")
        kept.append(kernel.say("complete_request"))
        assert pump() == 1
        assert kernel.given == []  # not before the cell has ended
        kept.append(kernel.say("execute_request", {"code": "2"}))  # came after the last look
    assert kernel.back() == kept


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_in_the_cell_gives_all_messages_back(kernel, error):
    sent = kernel.say("execute_request")
    with pytest.raises(error), MessagePump(kernel, own) as pump:
        pump()
        raise error
    assert kernel.back() == [sent]


def test_an_interrupt_between_receiving_and_deferring_loses_nothing(kernel):
    sent = [kernel.say("execute_request") for _ in range(3)]
    receive, interrupts, raised = kernel.shell_stream.socket.recv_multipart, True, 0

    def interrupted(*flags, copy):
        frames = receive(*flags, copy=copy)
        if interrupts:
            os.kill(os.getpid(), signal.SIGINT)
        return frames

    kernel.shell_stream.socket.recv_multipart = interrupted
    with MessagePump(kernel, own) as pump:
        for _ in range(4):
            try:
                pump()
            except KeyboardInterrupt:
                raised += 1
        interrupts = False
    assert raised == 3
    assert kernel.back() == sent


def test_an_interrupt_while_giving_back_loses_nothing(kernel):
    sent = [kernel.say("execute_request") for _ in range(3)]
    given = kernel.given

    def receive(frames):
        os.kill(os.getpid(), signal.SIGINT)
        given.append(frames)

    kernel.shell_stream.on_recv(receive, copy=False)
    with pytest.raises(KeyboardInterrupt), MessagePump(kernel, own) as pump:
        pump()
    assert kernel.back() == sent


def test_a_handler_that_raises_does_not_end_the_training(kernel, caplog):
    def broken(m):
        raise RuntimeError("no")

    kernel.comm_manager.comms["ours"] = SimpleNamespace(_msg_callback=broken)
    with MessagePump(kernel, own) as pump:
        kernel.move("ours")
        assert pump() == 1
    assert "could not be handled" in caplog.text
    assert [s for s, _ in kernel.status] == ["busy", "idle"]


def test_a_page_that_is_loaded_anew_is_answered(kernel):
    with MessagePump(kernel, own) as pump:
        kernel.say("kernel_info_request")
        kernel.say("comm_info_request", {"target_name": "jupyter.widget"})
        kernel.say("comm_open", {"comm_id": "new", "target_name": CONTROL, "data": {}})
        kernel.comm_manager.comms["new"] = SimpleNamespace(_msg_callback=kernel.delivered.append)
        kernel.say("comm_msg", {"comm_id": "new", "data": {"method": "request_states"}})
        assert pump() == 4
    assert kernel.answered == ["kernel_info_request", "comm_info_request"]
    assert len(kernel.opened) == len(kernel.delivered) == 1
    assert kernel.given == []


def test_a_comm_that_another_widget_opens_is_deferred(kernel):
    with MessagePump(kernel, own) as pump:
        sent = kernel.say("comm_open", {"comm_id": "x", "target_name": "theirs", "data": {}})
        assert pump() == 0
    assert kernel.back() == [sent]


def test_a_message_that_cannot_be_read_is_deferred(kernel):
    with MessagePump(kernel, own) as pump:
        kernel.page.send_multipart([b"nonsense"])
        assert pump() == 0
    assert [bytes(f.bytes) for f in kernel.given[0]] == [b"nonsense"]


@pytest.mark.parametrize("lacks", ["shell_stream", "session", "comm_manager", "_publish_status"])
def test_a_kernel_with_other_internals_is_left_alone(kernel, lacks):
    sent = kernel.move("ours")
    broken = SimpleNamespace(
        **{k: getattr(kernel, k) for k in ("shell_stream", "session", "comm_manager", "_publish_status") if k != lacks}
    )
    with MessagePump(broken, own) as pump:
        assert not pump.supported
        assert pump() == 0
    assert kernel.given == []
    _, parts = kernel.session.feed_identities(kernel.shell_stream.socket.recv_multipart())
    assert kernel.session.deserialize(parts)["header"]["msg_id"] == sent


def test_without_a_kernel_the_pump_is_not_supported():
    assert not MessagePump(None, own).supported


def test_a_socket_that_breaks_ends_the_pump_and_not_the_training(kernel, caplog):
    with MessagePump(kernel, own) as pump:
        kernel.say("execute_request")
        pump()
        kernel.shell_stream.socket.close(0)
        assert pump() == 0
        assert not pump.supported
    assert len(kernel.given) == 1
    assert "sliders act when the cell ends" in caplog.text


def test_in_another_thread_the_pump_is_not_supported(kernel):
    works = []
    thread = threading.Thread(target=lambda: works.append(MessagePump(kernel, own).supported))
    thread.start()
    thread.join()
    assert works == [False]


def test_while_awaiting_the_panels_messages_overtake_others(kernel):
    pump = MessagePump(kernel, own)
    ours, theirs = kernel.move("ours"), kernel.move("theirs")
    with pump.while_awaiting():
        for _ in range(2):
            kernel.shell_stream.handle_one()
    assert [m["header"]["msg_id"] for m in kernel.delivered] == [ours]
    assert kernel.back() == [theirs]
    kernel.move("ours")
    kernel.shell_stream.handle_one()
    assert len(kernel.given) == 2  # the kernel's own receiver is back


def test_pumps_that_await_may_end_in_any_order(kernel):
    first, second = MessagePump(kernel, own), MessagePump(kernel, lambda comm: comm == "theirs")
    with ExitStack() as outer:
        with first.while_awaiting():
            outer.enter_context(second.while_awaiting())
            kernel.move("theirs")
            kernel.shell_stream.handle_one()
        kernel.move("ours")
        kernel.shell_stream.handle_one()
        kernel.move("theirs")
        kernel.shell_stream.handle_one()
    assert len(kernel.delivered) == 2
    assert len(kernel.given) == 1


def test_interrupts_are_delivered_at_the_end_of_the_block():
    reached = False
    with pytest.raises(KeyboardInterrupt), deferred_interrupts():
        os.kill(os.getpid(), signal.SIGINT)
        reached = True
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
