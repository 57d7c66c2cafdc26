# SPDX-License-Identifier: Apache-2.0
"""The documents say what is: every stat, every specification, every file they name, every line of C they show."""
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")])


def run(*command, **more):
    return subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, **more)


# ---- docs/stats.md ---------------------------------------------------------------------------------------------

def fields_of_the_header(text):
    """{kind: {"group.field"}} as include/livekit/stats_fields.h has it."""
    groups = {name: re.findall(r"X\(\w+, (\w+),", body)
              for name, body in re.findall(r"#define LK_STATS_GROUP_(\w+)\(X\)((?:.*\\\n)*.*)", text)}
    kinds = {}
    for name, body in re.findall(r"#define LK_STATS_KIND_(\w+)\(G\)((?:.*\\\n)*.*)", text):
        members = re.findall(r"G\((\w+), (\w+)\)", body)
        kinds[name] = {f"{member}.{field}" for group, member in members for field in groups[group]}
    return kinds


def rows_of_the_page(text):
    """{kind: {"group.field": what is said of it}} as docs/stats.md has it."""
    kinds = {}
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        kind, _, body = section.partition("\n")
        kinds[kind.strip()] = rows = {}
        for names, said in re.findall(r"^\| (`[^|]+) \| ([^|]+) \|$", body, re.M):
            for name in re.findall(r"`([^`]+)`", names):
                assert name not in rows, f"{kind}: {name} stands there twice"
                rows[name] = said.strip()
    return kinds


def stats_problems(header, page):
    wanted, told = fields_of_the_header(header), rows_of_the_page(page)
    for kind in sorted(wanted.keys() | told.keys()):
        for name in sorted(wanted.get(kind, set()) - told.get(kind, {}).keys()):
            yield f"{kind}: {name} is missing in docs/stats.md"
        for name in sorted(told.get(kind, {}).keys() - wanted.get(kind, set())):
            yield f"{kind}: docs/stats.md names {name}, which stats_fields.h does not have"
        if kind not in told:
            yield f"{kind}: no section in docs/stats.md"
        if kind not in wanted:
            yield f"{kind}: docs/stats.md has a section for what is no kind"


def is_default(said):
    return said.startswith("default")


def code_that_fills():
    files = [path for part in ("pc", "media", "room") for path in sorted((ROOT / "src" / part).glob("*.c"))]
    texts = [path.read_text() for path in files]
    return "\n".join(text for text in texts if re.search(r"\blk_stats_[A-Z]|\bLK_STATS_(inbound|outbound)_rtp\b", text))


def is_set(code, field):
    """An assignment through a pointer or member, or a text built in place."""
    place = rf"\w(?:->|\.){field}\b"
    return bool(re.search(rf"{place}(?:\[\w+\])?\s*(?:[+|]?=[^=]|=\s|\+\+)", code) or re.search(rf"(?:JOIN|lk_str_copy)\([\w.>-]*{place}", code)
                or re.search(rf", [\w.>-]*{place}\)", code))


@pytest.fixture(scope="module")
def header():
    return (ROOT / "include/livekit/stats_fields.h").read_text()


@pytest.fixture(scope="module")
def page():
    return (ROOT / "docs/stats.md").read_text()


def test_every_stat_is_documented_and_none_is_invented(header, page):
    assert len(fields_of_the_header(header)) >= 16
    assert not list(stats_problems(header, page))


def test_a_default_is_never_set_and_what_has_a_source_is(page):
    code, told = code_that_fills(), rows_of_the_page(page)
    said = {}
    for rows in told.values():
        for name, text in rows.items():
            said.setdefault(name.partition(".")[2], []).append(text)
    assert len(code) > 10000
    for field, texts in said.items():
        if all(map(is_default, texts)):
            assert not is_set(code, field), f"docs/stats.md calls {field} a default, the code sets it: say what it measures"
        else:
            assert is_set(code, field), f"docs/stats.md names a source of {field}, nothing sets it"


@pytest.mark.parametrize("change_header, change_page, caught", [
    (("X(U32, fec_ssrc, \"\")", "X(U32, fec_ssrc, \"\") \\\n    X(U32, brand_new, \"\")"), None,
     "inbound_rtp: inbound.brand_new is missing in docs/stats.md"),
    (None, ("| `codec.channels` |", "| `codec.chanels` |"), "codec: docs/stats.md names codec.chanels, which stats_fields.h does not have"),
    (None, ("## transport\n", "## transports\n"), "transport: no section in docs/stats.md"),
])
def test_a_stat_out_of_step_is_caught(header, page, change_header, change_page, caught):
    def changed(text, change):
        assert change is None or change[0] in text
        return text.replace(*change, 1) if change else text
    assert caught in list(stats_problems(changed(header, change_header), changed(page, change_page)))


# ---- docs/rfc-map.md -------------------------------------------------------------------------------------------

def test_the_map_of_specifications_is_what_the_code_says():
    result = run("tools/gen_rfc_map.py", "--check")
    assert result.returncode == 0, result.stdout


def test_a_tag_that_is_not_in_the_map_is_caught(tmp_path):
    for part in ("src/stun", "include", "docs"):
        (tmp_path / part).mkdir(parents=True)
    (tmp_path / "src/stun/stun.c").write_text("int a; /* [RFC8489 s5] */\n")
    assert run("tools/gen_rfc_map.py", tmp_path).returncode == 0
    assert "- s5: `src/stun/stun.c`" in (tmp_path / "docs/rfc-map.md").read_text()
    assert run("tools/gen_rfc_map.py", "--check", tmp_path).returncode == 0
    (tmp_path / "src/stun/stun.c").write_text("int a; /* [RFC8489 s5, s14.7] */\n")
    result = run("tools/gen_rfc_map.py", "--check", tmp_path)
    assert result.returncode == 1 and "+ - s14.7: `src/stun/stun.c`" in result.stdout


# ---- what documents name exists -----------------------------------------------------------------------------------

SOURCES = ("src", "include", "apps", "tests", "tools", "fuzz", "examples", "bench")
PLACES = tuple(folder + "/" for folder in (*SOURCES, "docs"))


def known_words():
    words = set()
    for folder in SOURCES:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".c", ".h", ".inc", ".py", ".sh", ".map", ".txt", ".build"} and "corpus" not in path.parts:
                if path.name == "test_docs.py":
                    continue
                words.add(path.name)
                text = path.read_text(errors="replace")
                words.update(re.findall(r"\b[A-Za-z_]\w+", text))
                words.update(re.findall(r'"([a-z]+(?:\.[a-z_]+)+)"', text))
    return words


def invented(text, words, here):
    """What stands in backticks and looks like a path or a name in code, yet is not there."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        if not (here / link).exists():
            yield link
    for token in re.findall(r"`([^`\n]+)`", text):
        if token.startswith(PLACES) and re.fullmatch(r"[\w./-]+", token):
            if not (ROOT / token).exists():
                yield token
        elif re.fullmatch(r"(?:room|signal|api)(?:\.[a-z_]{2,}){1,3}", token):  # a log record
            if token not in words:
                yield token
        elif re.fullmatch(r"[a-z]\w*_\w+(\(\))?|LK_[A-Z_0-9]+|\w+\.[ch]", token):
            name = token.removesuffix("()")
            if name not in words and not any(word.endswith("_" + name) for word in words):
                yield token


@pytest.fixture(scope="module")
def words():
    return known_words()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_names_exists(document, words):
    assert not list(invented(document.read_text(), words, document.parent))


def test_a_name_that_does_not_exist_is_caught(words):
    text = "See `lk_pc_sendd` in `src/pc/pcc.c`, [here](nowhere.md), `lk_pc_send` and `src/pc/pc.c`; log `room.endid`."
    assert sorted(invented(text, words, ROOT / "docs")) == ["lk_pc_sendd", "nowhere.md", "room.endid", "src/pc/pcc.c"]


# ---- docs/adr -----------------------------------------------------------------------------------------------------

def test_every_decision_has_its_four_parts_and_is_listed():
    index = (ROOT / "docs/adr/README.md").read_text()
    pages = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))
    assert [path.name[:4] for path in pages] == [f"{n:04}" for n in range(1, len(pages) + 1)]
    for path in pages:
        text = path.read_text()
        assert text.startswith(f"# {path.name[:4]} "), path.name
        assert re.findall(r"^## (.*)$", text, re.M) == ["Context", "Options", "Decision", "Price"], path.name
        assert path.name in index, f"{path.name} is not in docs/adr/README.md"


# ---- code and commands in documents ---------------------------------------------------------------------------------

C_BLOCKS = [pytest.param(path, block, id=f"{path.relative_to(ROOT)}-{number}")
            for path in DOCUMENTS for number, block in enumerate(re.findall(r"^```c\n(.*?)^```", path.read_text(), re.M | re.S), 1)]
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wno-sign-conversion", "-Werror"]


@pytest.mark.parametrize("document, block", C_BLOCKS)
def test_the_c_of_a_document_compiles(document, block, tmp_path):
    """As C17; what has a main is linked with the library and refuses to run without arguments."""
    source = tmp_path / "snippet.c"
    source.write_text(block)
    result = run("gcc", "-std=c17", *STRICT, "-Iinclude", "-c", source, "-o", tmp_path / "snippet.o")
    assert result.returncode == 0, result.stderr
    if "int main(" in block:
        result = run("gcc", "-std=c17", "-Iinclude", source, "-o", tmp_path / "snippet", "-Lbuild", "-llivekit",
                     f"-Wl,-rpath,{ROOT / 'build'}")
        assert result.returncode == 0, result.stderr
        assert run(tmp_path / "snippet", timeout=20).returncode == 2


def test_readme_shows_the_c_api():
    assert sum(path.name == "README.md" and path.parent == ROOT for path, _ in (p.values for p in C_BLOCKS)) >= 2


def test_make_targets_named_in_documents_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    for path in DOCUMENTS:
        text = path.read_text()
        for name in re.findall(r"`make ([\w-]+)|^\s*make ([\w-]+)", text, re.M):
            assert "".join(name) in targets, f"{path.name}: make {''.join(name)}"


# ---- the pages hang together --------------------------------------------------------------------------------------

def test_every_page_is_reached_from_the_readme():
    seen, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop().resolve()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        ahead += [page.parent / link for link in re.findall(r"\]\(([^)#:]+\.md)(?:#[^)]*)?\)", page.read_text())]
    assert {path.resolve() for path in DOCUMENTS} == seen


def test_the_layers_drawn_are_those_of_the_table():
    table = {}
    for line in (ROOT / "src/layers.txt").read_text().splitlines():
        words = line.split("#")[0].split()
        if words:
            table[words[1]] = int(words[0])
    drawn = {}
    for layer, text in re.findall(r"^(\d) \w+ +(.*)$", (ROOT / "docs/architecture.md").read_text(), re.M):
        for name in text.split():
            if name in table:
                drawn[name] = int(layer)
    assert drawn and all(table[name] == layer for name, layer in drawn.items())
    assert {"base", "ice", "srtp", "pc", "media", "room", "io", "api", "ffi"} <= drawn.keys()


def test_every_call_that_may_wait_is_in_the_table_of_waits():
    waits = (ROOT / "docs/threads.md").read_text()
    found = 0
    for path in (ROOT / "include/livekit").glob("*.h"):
        for comment, function in re.findall(r"/\*((?:(?!\*/).)*?)\*/\s*LK_API [^;]*?\b(lk_\w+)\(", path.read_text(), re.S):
            if "LK_BLOCKS" in comment:
                found += 1
                assert f"`{function}`" in waits, f"{function} may wait: docs/threads.md does not say for what"
    assert found >= 4


# ---- docs/ffi.md ----------------------------------------------------------------------------------------------------

def ffi_problems(table, page):
    built = page[page.index("## What is built"):page.index("Every other request")]
    rows = {name.lower(): kind for kind, name in re.findall(r"^(CALL|LATER|SAY|REFUSE)\((\w+)", table, re.M)}
    told = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b|\b(?:connect|disconnect|dispose|e2ee)\b", built)) & rows.keys()
    for name, kind in rows.items():
        if kind == "CALL" and name not in told:
            yield f"{name} is built, docs/ffi.md does not say so"
        if kind != "CALL" and name in told:
            yield f"{name} is not built, docs/ffi.md says it is"


def test_the_page_of_the_ffi_names_what_is_built():
    table, page = (ROOT / "src/ffi/ffi_table.inc").read_text(), (ROOT / "docs/ffi.md").read_text()
    assert len(re.findall(r"^(?:CALL|LATER|SAY|REFUSE)\(", table, re.M)) >= 90
    assert not list(ffi_problems(table, page))
    assert list(ffi_problems(table.replace("REFUSE(NEW_VIDEO_STREAM)", "CALL(new_video_stream, NEW_VIDEO_STREAM)")
                             if "REFUSE(NEW_VIDEO_STREAM)" in table else table + "CALL(brand_new, BRAND_NEW)\n", page))
