# SPDX-License-Identifier: Apache-2.0
"""The page of `lkc serve` in Chromium: what its participants see, hear, read and are told."""
import json
import re
import threading

import numpy as np
import pytest

import peers
from pages import PICTURES
from stage import Partner
from test_browser import loudness, recognise
from test_serve import Serve

SEEN = 30  # pictures that are looked at


@pytest.fixture(scope="module")
def dev():
    with Serve("--dev") as serve:
        yield f"http://127.0.0.1:{serve.port}/app"
        assert serve.end()[0] == 0


@pytest.fixture(params=["ours", "theirs"])
def server(request):
    with peers.Server(ours=request.param == "ours") as s:
        yield s


def shows(who):
    """In the words of the page: the tile of somebody has a picture that moves on."""
    return f"""(() => {{ const video = document.querySelector('.tile[data-identity^="{who}"] video');
                         return video && !video.hidden && video.videoWidth > 0 && video.currentTime > 0; }})()"""


def is_muted(who):
    return f"""document.querySelector('.tile[data-identity^="{who}"] .muted')?.hasAttribute('hidden') === false"""


def chat_has(text):
    return f"[...document.querySelectorAll('#talk li')].some((line) => line.textContent === {json.dumps(text)})"


def assert_pictures(seen, of=PICTURES):
    """They are readable and follow each other, not one picture again and again."""
    numbers = np.array([number for number in seen["numbers"] if number is not None])
    assert len(numbers) >= 0.9 * SEEN, seen
    steps = np.diff(numbers) % of
    assert (steps < of // 2).all() and len(set(numbers)) >= SEEN // 3, seen


def assert_says(says, listen):
    """The words are recognised, in the first five seconds listened to or, on a busy machine, in some of the next."""
    results = []
    while len(results) < 4:
        results.append(recognise(loudness(says), np.array(listen())))
        if results[-1]["likeness"] >= 0.85:
            return
    raise AssertionError(results)


def join(pages, name, address, who, room, microphone, camera):
    pages(name, "open", address)
    pages(name, "fill", "[name=name]", who)
    pages(name, "fill", "[name=room]", room)
    for wanted, box in ((microphone, "mic"), (camera, "camera")):
        if not wanted:
            pages(name, "click", f"[name={box}]")
    pages(name, "click", "#enter .main")
    pages(name, "until", "room.state === 'joined'")


def test_two_pages_see_hear_and_write_to_each_other(pages, dev, room, says):
    join(pages, "a", dev, "Ann Ä", room, True, True)
    pages("b", "open", f"{dev}#room={room}")  # a link joins, with nothing switched on
    pages("b", "until", "room.state === 'joined'")
    pages("b", "until", shows("Ann"))
    pages("a", "until", is_muted("Guest"))
    assert_pictures(pages("b", "get", f"see('Ann', {SEEN})"))
    pages("b", "until", "[...room.people.values()].some((each) => each !== room.me && each.media.size === 2)")
    assert_says(says, lambda: pages("b", "get", "hear('Ann', 5.1)"))
    # a is muted, b speaks and shows
    pages("a", "click", "[data-do=mic]")
    pages("b", "until", is_muted("Ann"))
    pages("b", "click", "[data-do=mic]")
    pages("b", "click", "[data-do=camera]")
    pages("a", "until", f"!({is_muted('Guest')})")
    pages("a", "until", shows("Guest"))
    assert_pictures(pages("a", "get", f"see('Guest', {SEEN})"))
    pages("a", "until", "[...room.people.values()].some((each) => each !== room.me && each.media.size === 2)")
    assert_says(says, lambda: pages("a", "get", "hear('Guest', 5.1)"))
    assert max(pages("b", "get", "hear('Ann', 0.5)")) < 15  # and nothing of who is muted
    # a camera that is switched off is a face again
    pages("a", "click", "[data-do=camera]")
    pages("b", "until", "document.querySelector('.tile[data-identity^=\"Ann\"] video').hidden")
    for name, text in (("a", "<b>Hello</b> Ω"), ("b", "and back")):
        pages(name, "click", "[data-do=chat]")
        pages(name, "fill", "#talk input", text)
        pages(name, "press", "Enter")
    pages("b", "until", chat_has("Ann Ä<b>Hello</b> Ω"))
    pages("a", "until", chat_has("Guestand back"))
    # a reload comes back as the same participant, with what was switched on
    identity = pages("b", "get", "room.me.identity")
    pages("b", "reload")
    pages("b", "until", "room.state === 'joined'")
    assert pages("b", "get", "room.me.identity") == identity
    pages("a", "until", shows("Guest"))
    assert_pictures(pages("a", "get", f"see('Guest', {SEEN})"))
    pages("b", "click", "[data-do=leave]")
    pages("a", "until", "room.people.size === 1 && document.querySelectorAll('.tile').length === 1")
    assert pages("b", "text", "#notice") == "You left"


def test_a_token_that_is_refused_is_refused_in_words_and_leaves_the_address(pages, dev, room):
    bad = peers.token("eve", room)  # of keys this server does not know
    pages("a", "open", f"{dev}#token={bad}")
    pages("a", "until", "document.querySelector('#notice').textContent !== ''")
    assert re.match("The token was refused: .*signature", pages("a", "text", "#notice"))
    assert bad not in pages("a", "get", "location.href + sessionStorage.getItem('visit')")


def test_without_dev_a_token_is_asked_for_and_its_rights_are_shown(pages, room, server):
    address = f"static:/app.html#server={server.url}"
    pages("a", "open", address)
    pages("a", "until", "!document.querySelector('.by-token').hidden && document.querySelector('.by-room').hidden")
    pages("a", "fill", "[name=token]", peers.token("quiet", room, name="Quiet", can_publish=False, can_publish_data=False))
    pages("a", "click", "#enter .main")
    pages("a", "until", "room.state === 'joined'")
    pages("a", "until", "document.querySelector('[data-do=mic]').hidden && document.querySelector('#talk form').hidden")


def test_the_page_and_python_on_either_server(pages, server, room, says):
    """The same files from any web server; pictures and chat both ways, sound, and back after the server was gone."""
    with Partner("watch", "stock", server.url, peers.token("partner", room, name="Partner"), wav=says) as partner:
        partner.wait("connected")
        pages("a", "open", f"static:/app.html#server={server.url}&token={peers.token('page', room, name='Page')}")
        pages("a", "until", "room.state === 'joined'")
        assert partner.wait("participant_connected")["args"][0]["identity"] == "page"
        pages("a", "click", "[data-do=mic]")
        sound = partner.wait("first_sound")["sid"]

        def listen():
            partner.ask(f"hear {sound} forget", "hear")
            peers.wait_for(lambda: len(partner.ask(f"hear {sound}", "hear")["levels"]) >= 5.1 * 50, 30, "enough to be heard")
            return partner.ask(f"hear {sound}", "hear")["levels"]
        assert_says(says, listen)
        pages("a", "click", "[data-do=camera]")
        picture = partner.wait("first_picture")["sid"]
        partner.say("draw 20")
        pages("a", "until", shows("partner"))
        assert_pictures(pages("a", "get", f"see('partner', {SEEN})"), of=4096)
        partner.say("send lk-chat-topic reliable 64 1 1 page")  # is no chat message, and is passed over
        pages("a", "click", "[data-do=chat]")
        pages("a", "fill", "#talk input", "hello")
        pages("a", "press", "Enter")
        assert partner.wait("data")["topic"] == "lk-chat-topic"
        assert pages("a", "get", "document.querySelectorAll('#talk li').length") == 1
        peers.wait_for(lambda: len(partner.ask(f"see {picture}", "see")["frames"]) >= SEEN, 30, "enough to be seen")
        seen = partner.ask(f"see {picture}", "see")["frames"]
        assert_pictures({"numbers": [number for _, number in seen[-SEEN:]]})
        partner.finish()
    server.kill()
    pages("a", "until", "room.state === 'returning'")
    threading.Thread(target=server.start).start()
    pages("a", "until", "room.state === 'joined' && [...room.people.values()][0].tracks.length === 2")
    assert server.participants(room) == ["page"]
