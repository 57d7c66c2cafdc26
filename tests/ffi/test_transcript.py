# SPDX-License-Identifier: Apache-2.0
"""The orders of events: the same story told by the stock library (recorded in tests/golden) and by ours, here and now."""
import pytest

import conftest
import transcript


@pytest.fixture(scope="module")
def stock():
    return transcript.parse(transcript.GOLDEN.read_text())


@pytest.fixture(scope="module")
def ours(server):
    lib = conftest.loaded("ours")
    try:
        text = transcript.tell(lib, server, "story")
    finally:
        lib.on = None
        lib.dispose()
    return transcript.parse(text)


@pytest.mark.parametrize("library", ["stock", "ours"])
def test_the_orders_of_the_contract_are_kept(library, request):
    lines = request.getfixturevalue(library)
    assert len({line.part for line in lines}) == 15 and len(lines) > 80, "the whole story"
    assert transcript.violations(lines) == []
    assert transcript.stream_violations(lines) == []


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_ours_tells_what_the_stock_library_tells(ours, stock, who):
    mine, theirs = transcript.essence(ours)[who], transcript.essence(stock)[who]
    for part in dict.fromkeys(part for part, *_ in theirs):
        assert [line for line in mine if line[0] == part] == [line for line in theirs if line[0] == part]
    assert mine == theirs


def position(lines, who, kind, way="<", nth=0):
    return [i for i, line in enumerate(lines) if (line.who, line.way, line.kind) == (who, way, kind)][nth]


def swap(lines, who, first, second, nth=0):
    """Exchanges the two of somebody's lines; first is the one that comes first."""
    i = position(lines, who, first, nth=nth)
    j = next(j for j in range(i + 1, len(lines)) if (lines[j].who, lines[j].way, lines[j].kind) == (who, "<", second))
    lines[i], lines[j] = lines[j], lines[i]


def lose(lines, who, kind, nth=0):
    del lines[position(lines, who, kind, nth=nth)]


def repeat(lines, who, kind, nth=0):
    i = position(lines, who, kind, nth=nth)
    lines.insert(i, lines[i])


def early(lines, who, kind):
    lines.insert(position(lines, who, "ready_for_room_event", ">"), lines.pop(position(lines, who, kind)))


BROKEN = [
    (early, "bob", "room.track_published"),
    (swap, "alice", "publish_track", "room.local_track_published"),
    (swap, "alice", "room.local_track_published", "room.local_track_subscribed"),
    (swap, "alice", "room.local_track_unpublished", "unpublish_track"),
    (swap, "bob", "room.participant_connected", "room.track_published"),
    (swap, "bob", "room.track_published", "room.track_subscribed"),
    (swap, "bob", "room.track_unsubscribed", "room.track_unpublished", 1),
    (swap, "bob", "room.track_unpublished", "room.participant_disconnected", 1),
    (swap, "bob", "room.participant_metadata_changed", "room.participants_updated"),
    (swap, "alice", "room.connection_state_changed", "room.disconnected", 1),
    (swap, "alice", "room.disconnected", "room.eos"),
    (swap, "alice", "room.eos", "disconnect"),
    (lose, "bob", "room.track_unsubscribed", 1),
    (lose, "alice", "room.disconnected"),
    (lose, "alice", "room.local_track_unpublished", -1),
    (lose, "alice", "disconnect"),
    (lose, "bob", "set_local_name"),
    (lose, "alice", "room.room_sid_changed"),
    (lose, "bob", "audio_stream_event.eos"),
    (repeat, "alice", "room.eos"),
    (repeat, "bob", "room.participant_connected"),
    (repeat, "bob", "room.track_subscribed"),
    (repeat, "alice", "set_local_metadata"),
    (repeat, "bob", "audio_stream_event.eos"),
]


@pytest.mark.parametrize("how", BROKEN, ids=lambda how: f"{how[0].__name__} {how[2]}")
def test_a_broken_order_is_caught(stock, how):
    lines = list(stock)
    how[0](lines, *how[1:])
    assert transcript.violations(lines) or transcript.stream_violations(lines)
