"""Sessions of the Python client (nats-py): `client.py SCENES`, in JSON a list of `[scene, settings]`.

It asks the test to do something with a line `DO what` on standard output and goes on when a line comes back. It ends
with an error if anything is not as it should be.
"""

import asyncio
import json
import ssl
import sys

import nats
from nats.errors import (
    Error,
    MaxPayloadError,
    NoRespondersError,
)

PATIENCE = 10
SETTINGS = {}


async def do(what):
    """Asks the test to act, and waits until it has."""
    print("DO", what, flush=True)
    line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    assert line, "the test is gone"


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, PATIENCE)


async def settle(client):
    """Waits until the server knows what the client has asked for. A flush is no help: its PING may overtake a SUB."""
    try:
        await client.request("nobody.settles", b"", timeout=PATIENCE)
    except NoRespondersError:
        pass


def note_errors(client):
    """The errors that the server sends to a client, which may forget them when the connection ends after them."""
    errors, process = [], client._process_err

    async def note(text):
        errors.append(text.lower())
        await process(text)

    client._process_err = note
    return errors


class Events:
    """What the client reports, in queues."""

    def __init__(self):
        self.queues = {}

    def note(self, name):
        queue = self.queues.setdefault(name, asyncio.Queue())

        async def callback(*what):
            queue.put_nowait(what)

        return callback

    async def next(self, name):
        return await soon(self.queues[name].get())


def options():
    """Options of a connection that every scene needs."""
    known = ("user", "password", "token", "user_credentials", "nkeys_seed_str", "tls_handshake_first", "tls_hostname")
    given = {key: SETTINGS[key] for key in known if key in SETTINGS}
    if "ca" in SETTINGS:
        context = ssl.create_default_context(cafile=SETTINGS["ca"])
        if "cert" in SETTINGS:
            context.load_cert_chain(SETTINGS["cert"], SETTINGS["key"])
        given["tls"] = context
    return given


async def connect(**more):
    return await soon(nats.connect(SETTINGS["url"], **{"allow_reconnect": False, **options(), **more}))


async def talk():
    """Everything an ordinary client does."""
    async with await connect() as one, await connect() as two:
        await publish_and_subscribe(one, two)
        await groups(one, two)
        await requests(one, two)
        await ends_of_subscriptions(one, two)
        await sizes(one, two)


async def publish_and_subscribe(one, two):
    exact, star, rest = [await one.subscribe(subject) for subject in ("a.b.c", "a.*.c", "a.>")]
    await settle(one)
    for number in range(200):
        await two.publish("a.b.c", str(number).encode(), headers={"Number": str(number), "Same": "ä"})
    for sub in (exact, star, rest):
        for number in range(200):
            message = await sub.next_msg(PATIENCE)
            assert message.data == str(number).encode() and message.subject == "a.b.c", message
            assert message.headers == {"Number": str(number), "Same": "ä"}, message.headers
    silent = await soon(nats.connect(SETTINGS["url"], allow_reconnect=False, no_echo=True, **options()))
    mine = await silent.subscribe("echo")
    await silent.publish("echo", b"own")
    await settle(silent)
    await two.publish("echo", b"other")
    assert (await mine.next_msg(PATIENCE)).data == b"other"
    await silent.close()


async def groups(one, two):
    seen, all_seen = [0, 0, 0], asyncio.Event()

    def member(number):
        async def take(_):
            seen[number] += 1
            if sum(seen) == 300:
                all_seen.set()

        return take

    for number, client in enumerate((one, two, two)):
        await client.subscribe("work.*", queue="q", cb=member(number))
    everything = await one.subscribe("work.>")
    await settle(one)
    await settle(two)
    for number in range(300):
        await two.publish(f"work.{number}", b"")
    await soon(all_seen.wait())
    for _ in range(300):
        await everything.next_msg(PATIENCE)
    assert sum(seen) == 300 and min(seen) > 30, seen


async def requests(one, two):
    async def answer(message):
        await message.respond(message.data.upper())

    await one.subscribe("service", cb=answer)
    await settle(one)
    answers = await soon(asyncio.gather(*(two.request("service", b"x%d" % n, timeout=PATIENCE) for n in range(100))))
    assert [answer.data for answer in answers] == [b"X%d" % n for n in range(100)]
    old = await two.request("service", b"old", timeout=PATIENCE, old_style=True)
    assert old.data == b"OLD"
    try:
        await two.request("nobody.listens", b"", timeout=PATIENCE)
        raise AssertionError("somebody answered")
    except NoRespondersError:
        pass


async def ends_of_subscriptions(one, two):
    few = await one.subscribe("few")
    await few.unsubscribe(limit=3)
    gone = await one.subscribe("gone")
    await gone.unsubscribe()
    await settle(one)
    for subject in ("few", "few", "few", "few", "gone"):
        await two.publish(subject, b"")
    await settle(two)
    await settle(one)
    assert few.pending_msgs == 3 and gone.pending_msgs == 0, few.pending_msgs
    for _ in range(3):
        await few.next_msg(PATIENCE)
    # Messages that wait are handled before a drained connection closes.
    third, handled = await connect(), []

    async def handle(message):
        await asyncio.sleep(0.001)
        handled.append(message.data)

    await third.subscribe("drained", cb=handle)
    await settle(third)
    for number in range(20):
        await two.publish("drained", b"%d" % number)
    await settle(two)
    await settle(third)
    await third.drain()
    assert handled == [b"%d" % number for number in range(20)], handled
    assert third.is_closed


async def sizes(one, two):
    limit = two.max_payload
    assert limit == 1024 * 1024
    sub = await one.subscribe("large")
    await settle(one)
    large = bytes(range(256)) * (limit // 256)
    for _ in range(5):
        await two.publish("large", large)
    await two.publish("large", b"")
    for _ in range(5):
        assert (await sub.next_msg(PATIENCE)).data == large
    assert (await sub.next_msg(PATIENCE)).data == b""
    try:
        await two.publish("large", large + b"x")
        raise AssertionError("too large a message was taken")
    except MaxPayloadError:
        pass


async def max_payload():
    """The server's own word on too large a message."""
    events = Events()
    one = await connect(closed_cb=events.note("closed"))
    errors = note_errors(one)
    assert one.max_payload == SETTINGS["max_payload"]
    one._max_payload *= 2
    await one.publish("large", bytes(SETTINGS["max_payload"] + 1))
    await events.next("closed")
    assert errors == ["'maximum payload violation'"], errors


async def refused():
    """The server does not let this client in."""
    try:
        await connect()
    except Error as error:
        assert "authorization violation" in str(error).lower(), repr(error)
        return
    raise AssertionError("let in")


async def permissions():
    """May publish `open.>` and subscribe to `open.>` and inboxes."""
    events = Events()
    one = await connect(error_cb=events.note("error"))
    await one.publish("closed.x", b"")
    assert 'permissions violation for publish to "closed.x"' in str((await events.next("error"))[0]).lower()
    await one.subscribe("closed.y")
    assert 'permissions violation for subscription to "closed.y"' in str((await events.next("error"))[0]).lower()
    sub = await one.subscribe("open.*")
    await one.publish("open.x", b"still here")
    assert (await sub.next_msg(PATIENCE)).data == b"still here"
    await one.close()


async def restart():
    """The server goes and comes back."""
    events = Events()
    one = await connect(
        allow_reconnect=True,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.05,
        disconnected_cb=events.note("gone"),
        reconnected_cb=events.note("back"),
        error_cb=events.note("error"),
    )
    sub = await one.subscribe("a.*")
    few = await one.subscribe("few")
    await few.unsubscribe(limit=2)
    await one.publish("a.b", b"before")
    await one.publish("few", b"")
    assert (await sub.next_msg(PATIENCE)).data == b"before"
    await few.next_msg(PATIENCE)
    await do("restart")
    await events.next("gone")
    await events.next("back")
    await one.publish("a.b", b"after")
    await one.publish("few", b"")
    assert (await sub.next_msg(PATIENCE)).data == b"after"
    await few.next_msg(PATIENCE)
    await one.close()


async def lame_duck():
    events = Events()
    one = await connect(lame_duck_mode_cb=events.note("ldm"))
    await settle(one)
    await do("lame duck")
    await events.next("ldm")
    await one.close()


async def discovered():
    events = Events()
    one = await connect(discovered_server_cb=events.note("news"))
    await settle(one)
    await do("announce")
    await events.next("news")
    assert SETTINGS["other"] in [server.netloc for server in one.discovered_servers], one.discovered_servers
    await one.close()


async def expired():
    """The credentials end while the connection is open."""
    events = Events()
    await do("short credentials")
    one = await connect(closed_cb=events.note("closed"))
    errors = note_errors(one)
    await events.next("closed")
    assert errors == ["'user authentication expired'"], errors


async def no_headers():
    """The server does without headers."""
    one = await connect()
    sub = await one.subscribe("a")
    await one.publish("a", b"plain")
    assert (await sub.next_msg(PATIENCE)).data == b"plain"
    await one.close()


async def main():
    for scene, settings in json.loads(sys.argv[1]):
        SETTINGS.clear()
        SETTINGS.update(settings)
        try:
            await asyncio.wait_for(globals()[scene](), 3 * PATIENCE)
        except BaseException:
            print("failed:", scene, settings, file=sys.stderr)
            raise


asyncio.run(main())
