"""Frames, and the layouts that depend on the version, against bytes written by hand."""

import pytest

from quant_assets.gateway import messages
from quant_assets.gateway.market import Instrument
from quant_assets.gateway.wire import FrameBuffer, WireError, fields_of, frame, message, parse_hello

INSTRUMENT = Instrument(7, "ABC", "Café ABC", "NYSE", isin="US1")


def fields(data):
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    return fields_of(data[4:])


def test_a_message_is_its_length_and_fields_ended_by_nul():
    assert message(4, True, None, "x", 0.5) == b"\x00\x00\x00\x0b4\x001\x00\x00x\x000.5\x00"


def test_frames_are_found_whatever_the_pieces():
    stream = b"API\0" + frame(b"v157..176") + message(71, 2, 1, "") + message(49, 1)
    for size in (1, 2, 3, 7, len(stream)):
        buffer, found = FrameBuffer(), []
        for i in range(0, len(stream), size):
            buffer.feed(stream[i : i + size])
            while (payload := buffer.next_frame()) is not None:
                found.append(payload)
        assert found == [b"v157..176", b"71\x002\x001\x00\x00", b"49\x001\x00"]


@pytest.mark.parametrize("junk", [b"GET / HTTP/1.1", b"API\0\xff\xff\xff\xff", b"AB"])
def test_what_is_not_tws_is_an_error(junk):
    buffer = FrameBuffer()
    buffer.feed(junk)
    with pytest.raises(WireError):
        buffer.next_frame()


@pytest.mark.parametrize(
    ("text", "versions"), [(b"v157..176", (157, 176)), (b"v100..178 +PACEAPI", (100, 178)), (b"v170", (170, 170))]
)
def test_greetings(text, versions):
    assert parse_hello(text) == versions


def test_a_wrong_greeting_is_an_error():
    with pytest.raises(WireError):
        parse_hello(b"hello")


def test_trailing_empty_fields_survive():
    assert fields_of(b"4\x002\x00\x00") == ["4", "2", ""]


@pytest.mark.parametrize(("version", "n_fields"), [(165, 5), (166, 6), (178, 6)])
def test_errors_carry_the_advanced_reject_from_166(version, n_fields):
    assert fields(messages.error(version, 3, 200, "no")) == ["4", "2", "3", "200", "no", ""][:n_fields]


@pytest.mark.parametrize(
    ("version", "head", "tail"),
    [
        (162, ["10", "8", "5", "ABC"], ["26", "", "COMMON"]),
        (163, ["10", "8", "5", "ABC"], ["COMMON", "100"]),
        (164, ["10", "5", "ABC", "STK"], ["COMMON", "0.0001", "0.0001", "100"]),
        (178, ["10", "5", "ABC", "STK"], ["COMMON", "0.0001", "0.0001", "100"]),
    ],
)
def test_contract_details_change_at_163_and_164(version, head, tail):
    got = fields(messages.contract_details(version, 5, INSTRUMENT, "SMART", trading="T", liquid="L"))
    assert got[:4] == head
    assert got[-len(tail) :] == tail
    assert "Caf\\xe9 ABC" in got
    assert got[got.index("ISIN") - 1 : got.index("ISIN") + 2] == ["1", "ISIN", "US1"]


@pytest.mark.parametrize(("version", "rest"), [(175, []), (176, ["Caf\\xe9 ABC", ""])])
def test_matching_symbols_carry_a_description_from_176(version, rest):
    got = fields(messages.matching_symbols(version, 9, [INSTRUMENT]))
    assert got == ["79", "9", "1", "7", "ABC", "STK", "NYSE", "USD", "0", *rest]


def test_bars_are_one_message():
    body = b"1\x002\x00"
    assert fields(messages.bars(4, "a", "b", 1, body)) == ["17", "4", "a", "b", "1", "1", "2"]
