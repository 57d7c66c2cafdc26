# SPDX-License-Identifier: Apache-2.0
"""The page of `lkc serve` over HTTP: what is there, with which headers, and what is not. What it does: tests/browser."""
import http.client
import re

import pytest

from test_serve import Serve, lkc

FILES = {"/app": "text/html; charset=utf-8", "/app.css": "text/css; charset=utf-8", "/app.js": "text/javascript; charset=utf-8",
         "/client.js": "text/javascript; charset=utf-8"}
SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def port():
    with Serve("--keys", f"mykey: {SECRET}") as serve:
        yield serve.port
        assert serve.end()[0] == 0


def ask(port, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer, body


def test_each_file_is_there_and_the_browser_is_held_to_it(port):
    total = 0
    for path, kind in FILES.items():
        answer, body = ask(port, path)
        total += len(body.encode())
        assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
        assert answer.headers["X-Content-Type-Options"] == "nosniff" and answer.headers["Referrer-Policy"] == "no-referrer"
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert "mykey" not in body and SECRET not in body
    assert total <= 40 << 10


def test_the_page_has_no_script_or_style_within_and_names_only_files_that_are_there(port):
    _, body = ask(port, "/app")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", body)
    named = re.findall(r'(?:src|href)="([^#d"][^"]*)"', body) + re.findall(r"from '\./([^']+)'", ask(port, "/app.js")[1])
    assert sorted("/" + name for name in named) == sorted(FILES)[1:]


def test_what_the_browser_has_is_not_sent_again(port):
    for path in FILES:
        answer, body = ask(port, path)
        tag = answer.headers["ETag"]
        assert re.fullmatch(r'"[0-9a-f]{16}"', tag) and answer.headers["Cache-Control"] == "no-cache"
        for known in (tag, f'"other", {tag}'):
            again, nothing = ask(port, path, If_None_Match=known)
            assert (again.status, nothing, again.headers["ETag"]) == (304, "", tag)
        assert ask(port, path, If_None_Match='"0000000000000000"')[1] == body


def test_head_says_what_get_would_and_other_methods_and_paths_are_none(port):
    for path in FILES:
        answer, body = ask(port, path, "HEAD")
        assert (answer.status, body, answer.headers["Content-Length"]) == (200, "", str(len(ask(port, path)[1].encode())))
        assert ask(port, path, "POST")[0].status == 404
    for path in ("/app/", "/app.html", "/app.js/", "/app.map", "/web/app.js", "/../app", "/app%2ejs", "/APP"):
        assert ask(port, path)[0].status == 404, path


def test_a_browser_is_led_to_the_page_and_a_health_check_is_not(port):
    for accept in ("text/html", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"):
        answer, _ = ask(port, "/", Accept=accept)
        assert (answer.status, answer.headers["Location"], answer.headers["Vary"]) == (302, "app", "Accept")
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}, {"Accept": "text/htmlx"}):
        answer, body = ask(port, "/", **headers)
        assert (answer.status, body) == (200, "OK")


def test_without_the_page_there_is_none(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(f"page: false\nkeys: {{mykey: {SECRET}}}\n")
    for arguments in (["--no-page", "--dev"], ["--config", str(config)]):
        with Serve(*arguments) as serve:
            assert all(ask(serve.port, path)[0].status == 404 for path in FILES)
            assert ask(serve.port, "/", Accept="text/html")[1] == "OK"
            assert "/app" not in serve.end()[1]


def test_the_greeting_and_lkc_token_name_links():
    with Serve("--dev") as serve:
        assert f"page        http://127.0.0.1:{serve.port}/app#room=dev\n" in serve.end()[1]
    with Serve("--dev", "--keys", f"mykey: {SECRET}", "--bind", "::1") as serve:
        text = serve.end()[1]
        token = re.search(r"token +(\S+)", text).group(1)
        assert f"page        http://[::1]:{serve.port}/app#token={token}\n" in text
    with Serve("--keys", f"mykey: {SECRET}") as serve:
        assert f"page        http://127.0.0.1:{serve.port}/app\n" in serve.end()[1]
    for url, link in {"ws://h:1": "http://h:1", "wss://h/x/": "https://h/x", "https://h": "https://h"}.items():
        made = lkc("token", "create", "--dev", "--room", "r", "--identity", "ann", "--url", url).stdout
        token = re.fullmatch(re.escape(link) + r"/app#token=(\S+)\n", made).group(1)
        assert lkc("token", "verify", "--dev", token).returncode == 0

