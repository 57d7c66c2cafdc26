# SPDX-License-Identifier: Apache-2.0
"""Codecs other than VP8 between real clients: what one browser sends, another one and the SDKs see; and the second codec a
browser sends for who cannot take the first."""
import pytest

import peers
from stage import Partner, assert_seen, draw, join


def codec_at(side, sid):
    return (side.ask(f"received {sid}", "received")["mime"] or "").removeprefix("video/").lower()


def sending(page):
    """Codecs that the page encodes now."""
    return {stream["mime"].removeprefix("video/").lower() for stream in page.ask("sent")["streams"] if stream["active"] and stream["mime"]}


@pytest.mark.parametrize("codec", ["h264", "vp9", "av1"])
def test_a_codec_goes_from_a_browser_and_from_the_sdk_to_who_comes_late(page, watcher, server, room, wavs, codec):
    with Partner("watch", "stock", server.url, peers.token("partner", room), wav=wavs[1]) as partner:
        partner.wait("connected")
        join(page, server, room, "browser")
        sids = {page: draw(page, 10, videoCodec=codec, backupCodec=False), partner: draw(partner, 10, videoCodec=codec)}
        partner.wait("first_picture", 30, sid=sids[page])
        page.wait("first_picture", 30, sid=sids[partner])
        if codec == "h264":  # the others put their layers into one stream
            assert {stream["rid"] for stream in page.ask("sent")["streams"]} == {"q", "h"}
        join(watcher, server, room, "watcher")
        for sender, sid in sids.items():
            watcher.wait("first_picture", 30, sid=sid)
        for sender, sid in sids.items():
            assert_seen(sender, sid, [watcher, partner if sender is page else page])
            assert codec_at(watcher, sid) == codec
            assert watcher.wait("track_subscribed", sid=sid)["mime"].lower() == f"video/{codec}"
        assert partner.finish() == 0


def test_a_second_codec_is_sent_for_who_cannot_take_the_first(page, watcher, server, room, wavs):
    """Our client decodes VP8 alone. Told to send both, the browser does, and each sees what it takes best; left to decide, the
    server gives everybody the second one, without a seam for who watched the first."""
    join(page, server, room, "browser")
    join(watcher, server, room, "watcher")
    sid = draw(page, 10, videoCodec="vp9", backupCodecPolicy=1)
    watcher.wait("first_picture", 30, sid=sid)
    assert sending(page) == {"vp9"}
    with Partner("watch", "ours", server.url, peers.token("partner", room), wav=wavs[1]) as partner:
        partner.wait("connected")
        partner.wait("first_picture", 30, sid=sid)
        assert_seen(page, sid, [watcher, partner])
        assert codec_at(watcher, sid) == "vp9" and sending(page) == {"vp9", "vp8"}
        page.say("mute video")
        partner.wait("track_muted")
        before = page.ask("count")["number"]
        peers.wait_for(lambda: page.ask("count")["number"] >= before + 20, 20, "numbers drawn unseen")
        for side in (watcher, partner):
            side.ask(f"see {sid} forget", "see")
        now = page.ask("count")["number"]
        for side in (watcher, partner):
            side.say(f"reach {sid} {now}")
        page.say("unmute video")
        for side in (watcher, partner):
            side.wait("reached", 30, sid=sid)
            numbers = [number for _, number in side.ask(f"see {sid}", "see")["frames"]]
            assert not set(numbers) & set(range(before + 1, now - 8)), ("what was drawn while muted may not be seen", side.name, numbers)
        page.say("erase")
        page.say("unpublish video")
        watcher.wait("track_unsubscribed", sid=sid)
        partner.wait("track_unsubscribed")
        sid = draw(page, 10, videoCodec="vp9")
        for side in (watcher, partner):
            side.wait("first_picture", 30, sid=sid)
        peers.wait_for(lambda: codec_at(watcher, sid) == "vp8", 20, "the second codec to reach everybody")
        assert_seen(page, sid, [watcher, partner])
        peers.wait_for(lambda: sending(page) == {"vp8"}, 20, "the browser to rest the first codec")
        assert partner.finish() == 0
