# SPDX-License-Identifier: Apache-2.0
"""The text that conversations are kept in: what matches, what does not, what is written down."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from ha_agent.vdsm.stomp import Frame, StompDecoder
from tests.vdsm.contract.conversation import (
    Bound,
    Mismatch,
    escaped,
    filled,
    load,
    match_frame,
    parse,
)
from tests.vdsm.contract.players import play_client
from tests.vdsm.contract.recorder import BLANKED, VARIABLE, Notes, recorded
from tests.vdsm.contract.talk import on_the_wire, talking
from tests.vdsm.contract.target import Target

RECORDED = Path(__file__).parents[2] / "data" / "vdsm" / "recorded"
ONE, OTHER = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


def reply(result: str, *, to: str = "r1") -> Frame:
    body = f'{{"jsonrpc": "2.0", "id": "{ONE}", "result": {result}}}'
    return Frame("MESSAGE", {"destination": to, "content-length": str(len(body))}, body.encode())


def template(result: str, *, to: str = "r1") -> str:
    head = f"MESSAGE\ndestination:{to}\ncontent-length:${{length}}\n\n"
    return head + f'{{"id": "${{uuid:a}}", "jsonrpc": "2.0", "result": {result}}}\0'


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ("true", "true"),
        ("${int:t}", "2150378905"),
        ('"${int:t}"', '"2150378905"'),
        ("${any}", '{"a": [1]}'),
        ('{"a": 1, "${more}": 0}', '{"a": 1, "b": 2}'),
        ('{"${uuid:a}": 1}', f'{{"{ONE}": 1}}'),
        ('["${uuid:b}", "${uuid:b}"]', f'["{OTHER}", "{OTHER}"]'),
        ('"vm ${uuid:b} is gone${text}"', f'"vm {OTHER} is gone, really"'),
    ],
)
def test_what_matches(expected: str, actual: str) -> None:
    assert match_frame(template(expected), reply(actual), {})["a"] == ONE


@pytest.mark.parametrize(
    ("expected", "actual", "why"),
    [
        ("true", "false", "body.result: False, not True"),
        ("1", "true", "body.result: True, not 1"),
        ("${int:t}", '"1"', "is no integer"),
        ("${int:t}", "true", "is no integer"),
        ('"${int:t}"', '"one"', "not '${int:t}'"),
        ('{"a": 1}', '{"a": 1, "b": 2}', "members"),
        ('{"a": 1, "${more}": 0}', '{"b": 2}', "members"),
        ("[1]", "[1, 2]", "2 elements, not 1"),
        ('["${uuid:b}", "${uuid:b}"]', f'["{OTHER}", "{ONE}"]', "body.result[1]"),
    ],
)
def test_what_does_not_match_says_where(expected: str, actual: str, why: str) -> None:
    with pytest.raises(Mismatch) as mismatch:
        match_frame(template(expected), reply(actual), {})
    assert why in str(mismatch.value)


def test_headers_are_compared() -> None:
    with pytest.raises(Mismatch, match="header destination"):
        match_frame(template("true"), reply("true", to="r2"), {})
    more = Frame("MESSAGE", {**reply("true").headers, "x": "y"}, reply("true").body)
    with pytest.raises(Mismatch, match="'x'"):
        match_frame(template("true"), more, {})
    with pytest.raises(Mismatch, match="ERROR"):
        match_frame(template("true"), Frame("ERROR", {}, b""), {})


def test_what_is_sent_is_filled_in() -> None:
    bound: Bound = {"a": ONE}
    data = filled(template('"${uuid:b}"', to="${uuid:b}"), bound)
    [frame] = StompDecoder().feed(data)
    assert bound["a"] == ONE
    assert frame.headers["destination"] == bound["b"]
    assert int(frame.headers["content-length"]) == len(frame.body)


def test_lines_and_escapes() -> None:
    text = "# c\nplays: server\n-> A\\n\\x41\\\\\\0\n\n2<- B\\r\n  c\n== the server closes\n"
    conversation = parse(text, "x")
    assert [line.template for line in conversation.lines] == [
        "A\nA\\\0",
        "B\rc",
        "the server closes",
    ]
    assert [(line.peer, line.is_clients) for line in conversation.lines[:2]] == [
        (1, True),
        (2, False),
    ]
    assert parse(f"-> {escaped(chr(9) + 'a' + chr(0))}", "x").lines[0].template == "\ta\0"
    with pytest.raises(ValueError, match="x, line 1"):
        parse("what is this", "x")


def test_a_recording_has_no_passwords() -> None:
    notes = Notes()
    secret = "hush"
    notes.take("->", b'SEND\nlogin:hush\npasscode:hush\n\n{"password": "hush", "x": 1}\0')
    notes.take("->", b"SEND\n\n{\"xml\": \"<graphics passwd='hush' type='vnc'/>\"}\0")
    notes.take("->", b'SEND\n\n{"xml": "<graphics passwd=\\"hush\\" type=\\"vnc\\"/>"}\0')
    notes.take(
        "->", b'SEND\n\n{"a": "{\\"userPassword\\": \\"hush\\"}", "password" : "h\\"ush"}\0'
    )
    notes.take("->", b'SEND\n\n{"password": "hush, and what is cut off')
    text = notes.text("test")
    assert secret not in text
    assert "ush" not in text.replace(BLANKED, "")
    assert '"x": 1' in text
    assert "type=" in text


def test_a_recording_keeps_what_looks_like_a_placeholder() -> None:
    notes = Notes()
    notes.take("->", b"SEND\n\n${uuid:a} \xff\0")
    [line] = parse(notes.text("test"), "x").lines
    assert line.template == "SEND\n\n${uuid:a} \xff\0"


async def test_a_recording_is_the_same_each_time_and_can_be_played(
    vdsm_server: Target, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not vdsm_server.is_ours:
        pytest.skip("a real VDSM's answers are its own")
    async with (
        recorded(vdsm_server, {VARIABLE: str(tmp_path)}, "session") as target,
        on_the_wire(target) as wire,
    ):
        wire.send("CONNECT", {"accept-version": "1.2", "heart-beat": "0,24000"})
        await wire.frame()
        wire.subscribe("replies", wire.reply_to)
        assert await wire.call("Host.ping2") is True
        assert await wire.call("Host.getConnectedStoragePools") == []
        await wire.call(
            "StorageDomain.getVolumes",
            storagedomainID=target.domain_id,
            storagepoolID=str(uuid.UUID(int=0)),
            imageID=target.image_id,
        )
        with pytest.raises(Exception, match="Task"):
            await wire.call("Task.getStatus", taskID=ONE)
    [file] = tmp_path.iterdir()
    golden = RECORDED / "embedded-session.txt"
    if request.config.getoption("--update"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(file.read_text())
    assert file.read_text() == golden.read_text()
    await play_client(load(golden), vdsm_server)


async def test_our_client_is_recorded(vdsm_server: Target, tmp_path: Path) -> None:
    async with (
        recorded(vdsm_server, {VARIABLE: str(tmp_path)}, "a/b[c]") as target,
        talking(target) as vdsm,
    ):
        await vdsm.ping2()
    [file] = tmp_path.iterdir()
    assert file.name == "a-b-c-1.txt"
    commands = [line.template.partition("\n")[0] for line in load(file).lines]
    assert commands[:3] == ["CONNECT", "CONNECTED", "SUBSCRIBE"]
    assert commands.count("SEND") == commands.count("MESSAGE") == 2
