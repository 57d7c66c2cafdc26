# SPDX-License-Identifier: Apache-2.0
"""The dialogues of dialogue.py: what ours says, here and now, against what the stock library said (tests/golden)."""
import pytest

import conftest
import dialogue

ROWS = dialogue.listed()
SAID = {story: (dialogue.GOLDEN / f"dialogue_{story}.txt").read_text() for story in dialogue.STORIES}


@pytest.mark.parametrize("story", dialogue.STORIES)
def test_ours_says_what_the_stock_library_says(story):
    lib = conftest.loaded("ours")
    try:
        text = dialogue.tell(lib, story)
    finally:
        lib.on = None
        lib.dispose()
    left, used = dialogue.unexplained(story, SAID[story], text, ROWS)
    assert left == [], "\n".join(left)
    mine = {row for row in ROWS if row[0].startswith(story + ":") or row[0] == "everywhere"}
    assert mine == used, f"rows of docs/ffi.md that explain nothing: {mine - used}"


def test_the_dialogues_are_whole():
    """Every request that is built without being about media alone, every kind of event."""
    text = "".join(SAID.values())
    for request in ("connect", "publish_track", "unpublish_track", "publish_data", "set_local_metadata", "set_local_name",
                    "set_local_attributes", "set_track_subscription_permissions", "get_stats", "get_session_stats", "new_video_source",
                    "create_video_track", "new_video_stream", "local_track_mute", "enable_remote_track", "disconnect",
                    "enable_remote_track_publication", "set_data_channel_buffered_amount_low_threshold", "capture_audio_frame"):
        assert f" > {request} " in text or f"= {request}" in text, request
    for event in ("data_packet_received", "track_muted", "participant_permission_changed", "room_metadata_changed", "reconnecting",
                  "track_unpublished", "local_track_subscribed", "disconnected", "eos", "data_channel_low_threshold_changed"):
        assert f" < {event} " in text, event
    assert text.count("= refused") >= 8 and text.count("error=") >= 20


CHANGES = [("lose an event", "media", lambda t: t.replace("bob < track_muted", "bob < gone", 1)),
           ("lose a line", "media", lambda t: "\n".join(line for line in t.splitlines() if "data_packet_received" not in line)),
           ("another field", "media", lambda t: t.replace("mime_type=video/VP8", "mime_type=video/H264")),
           ("another order", "endings", lambda t: t.replace("alice < disconnected {reason=5}\nalice < eos {}",
                                                            "alice < eos {}\nalice < disconnected {reason=5}")),
           ("an answer to what is refused", "refusals", lambda t: t.replace("  = refused", "  = {}", 1)),
           ("no error", "refusals", lambda t: t.replace(" error='invalid request: handle not found'", "")),
           ("an event more", "refusals", lambda t: t.replace("bob < track_published", "bob < track_published {}\nbob < track_published", 1))]


@pytest.mark.parametrize("name,story,change", CHANGES, ids=[c[0] for c in CHANGES])
def test_a_difference_nobody_listed_is_noticed(name, story, change):
    changed = change(SAID[story])
    assert changed != SAID[story], "the change changes something"
    assert dialogue.unexplained(story, SAID[story], SAID[story], [])[0] == []
    rows = [row for row in ROWS if row[0] != "everywhere"]
    assert dialogue.unexplained(story, SAID[story], changed, rows)[0]
