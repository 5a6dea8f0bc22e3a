// Sessions of the JavaScript client (@nats-io): `client.mjs SCENES`, in JSON a list of `[scene, settings]`.
//
// It asks the test to do something with a line `DO what` on standard output and goes on when a line comes back. It ends
// with an error if anything is not as it should be. The packages are found below the folder NODE_MODULES.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import readline from "node:readline";

const require = createRequire(process.env.NODE_MODULES + "/");
const { connect: tcpConnect } = require("@nats-io/transport-node");
const core = require("@nats-io/nats-core");
const { WebSocket } = require("ws");

const PATIENCE = 10_000;
let settings;
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Asks the test to act, and waits until it has. */
async function act(what) {
  console.log("DO " + what);
  assert.equal((await lines.next()).done, false, "the test is gone");
}

function soon(promise, what = "something") {
  let timer;
  const late = new Promise((_, refuse) => {
    timer = setTimeout(() => refuse(new Error(`still not: ${what}`)), PATIENCE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const bytes = (text) => new TextEncoder().encode(text);

function options() {
  const options = { reconnect: false };
  for (const key of ["user", "pass", "token"]) {
    if (settings[key] !== undefined) options[key] = settings[key];
  }
  if (settings.nkeys_seed_str) options.authenticator = core.nkeyAuthenticator(bytes(settings.nkeys_seed_str));
  if (settings.user_credentials) {
    options.authenticator = core.credsAuthenticator(readFileSync(settings.user_credentials));
  }
  if (settings.ca && !isWeb()) {
    options.tls = { caFile: settings.ca };
    if (settings.cert) Object.assign(options.tls, { certFile: settings.cert, keyFile: settings.key });
    if (settings.tls_handshake_first) options.tls.handshakeFirst = true;
  }
  return options;
}

const isWeb = () => /^wss?:/.test(settings.url);

function connect(more = {}) {
  const given = { servers: settings.url, ...options(), ...more };
  if (!isWeb()) return soon(tcpConnect(given), "connected");
  // The transport for browsers, in a program: Node before 22 has no WebSocket of its own, and none knows our authority.
  const ca = settings.ca && readFileSync(settings.ca);
  globalThis.WebSocket = class extends WebSocket {
    constructor(url) {
      super(url, { ca });
    }
  };
  return soon(core.wsconnect(given), "connected");
}

async function next(iterator, what) {
  const { value, done } = await soon(iterator.next(), what);
  assert.equal(done, false, `${what}: ended`);
  return value;
}

/** Waits for an event of the connection. */
async function event(status, type) {
  for (;;) {
    const found = await next(status, type);
    if (found.type === type) return found;
  }
}

const events = (client) => client.status()[Symbol.asyncIterator]();
const messages = (sub) => sub[Symbol.asyncIterator]();

const scenes = {
  /** Everything an ordinary client does. */
  async talk() {
    const [one, two] = await Promise.all([connect(), connect()]);
    await publishAndSubscribe(one, two);
    await groups(one, two);
    await requests(one, two);
    await endsOfSubscriptions(one, two);
    await sizes(one, two);
    await Promise.all([one.close(), two.close()]);
  },

  /** The server's own word on too large a message. */
  async max_payload() {
    const one = await connect();
    assert.equal(one.info.max_payload, settings.max_payload);
    one.protocol.info.max_payload *= 2;
    one.publish("large", new Uint8Array(settings.max_payload + 1));
    const error = await soon(one.closed(), "closed");
    assert.match(String(error), /maximum payload violation/i);
  },

  /** The server does not let this client in. */
  async refused() {
    await assert.rejects(connect(), (error) => {
      assert.match(`${error} ${error.cause}`, /authorization violation/i);
      return true;
    });
  },

  /** May publish `open.>` and subscribe to `open.>` and inboxes. */
  async permissions() {
    const one = await connect();
    const status = events(one);
    one.publish("closed.x");
    const { error } = await event(status, "error");
    assert.ok(error instanceof core.PermissionViolationError, String(error));
    assert.deepEqual([error.operation, error.subject], ["publish", "closed.x"]);
    const denied = one.subscribe("closed.y");
    await assert.rejects(soon(messages(denied).next(), "refused"), (error) => {
      assert.ok(error instanceof core.PermissionViolationError, String(error));
      assert.deepEqual([error.operation, error.subject], ["subscription", "closed.y"]);
      return true;
    });
    const queue = one.subscribe("closed.z", { queue: "q" });
    await assert.rejects(soon(messages(queue).next(), "refused"), (error) => {
      assert.equal(error.queue, "q");
      return true;
    });
    await assert.rejects(one.request("closed.request"), (error) => {
      assert.ok(error.cause instanceof core.PermissionViolationError, String(error));
      return true;
    });
    const sub = messages(one.subscribe("open.*"));
    one.publish("open.x", "still here");
    assert.equal((await next(sub, "open")).string(), "still here");
    await one.close();
  },

  /** The server goes and comes back. */
  async restart() {
    const one = await connect({ reconnect: true, maxReconnectAttempts: -1, reconnectTimeWait: 50 });
    const status = events(one);
    const sub = messages(one.subscribe("a.*"));
    const few = messages(one.subscribe("few", { max: 2 }));
    one.publish("a.b", "before");
    one.publish("few");
    assert.equal((await next(sub, "before")).string(), "before");
    await next(few, "few");
    await act("restart");
    await event(status, "disconnect");
    await event(status, "reconnect");
    one.publish("a.b", "after");
    one.publish("few");
    assert.equal((await next(sub, "after")).string(), "after");
    await next(few, "few again");
    assert.equal((await soon(few.next(), "the end")).done, true);
    await one.close();
  },

  async lame_duck() {
    const one = await connect();
    const status = events(one);
    await one.flush();
    await act("lame duck");
    await event(status, "ldm");
    await one.close();
  },

  async discovered() {
    const one = await connect();
    const status = events(one);
    await one.flush();
    await act("announce");
    const { added } = await event(status, "update");
    assert.deepEqual(added, [settings.other]);
    await one.close();
  },

  /** The credentials end while the connection is open. */
  async expired() {
    await act("short credentials");
    const one = await connect();
    const error = await soon(one.closed(), "closed");
    assert.ok(error instanceof core.UserAuthenticationExpiredError, String(error));
  },

  /** The server does without headers. */
  async no_headers() {
    const one = await connect();
    const sub = messages(one.subscribe("a"));
    one.publish("a", "plain");
    assert.equal((await next(sub, "plain")).string(), "plain");
    assert.equal(one.info.headers ?? false, false);
    await one.close();
  },
};

async function publishAndSubscribe(one, two) {
  const subs = ["a.b.c", "a.*.c", "a.>"].map((subject) => messages(one.subscribe(subject)));
  await one.flush();
  for (let number = 0; number < 200; number++) {
    const headers = core.headers();
    headers.append("Number", String(number));
    headers.append("Same", "one");
    headers.append("Same", "two");
    two.publish("a.b.c", String(number), { headers });
  }
  for (const sub of subs) {
    for (let number = 0; number < 200; number++) {
      const message = await next(sub, "a.b.c");
      assert.equal(message.string(), String(number));
      assert.equal(message.subject, "a.b.c");
      assert.equal(message.headers.get("Number"), String(number));
      assert.deepEqual(message.headers.values("Same"), ["one", "two"]);
    }
  }
  const silent = await connect({ noEcho: true });
  const mine = messages(silent.subscribe("echo"));
  silent.publish("echo", "own");
  await silent.flush();
  two.publish("echo", "other");
  assert.equal((await next(mine, "echo")).string(), "other");
  await silent.close();
}

async function groups(one, two) {
  const seen = [0, 0, 0];
  let tell;
  const allSeen = new Promise((resolve) => (tell = resolve));
  [one, two, two].forEach((client, number) => {
    client.subscribe("work.*", {
      queue: "q",
      callback: () => {
        seen[number]++;
        if (seen.reduce((a, b) => a + b) === 300) tell();
      },
    });
  });
  const everything = messages(one.subscribe("work.>"));
  await Promise.all([one.flush(), two.flush()]);
  for (let number = 0; number < 300; number++) two.publish(`work.${number}`);
  await soon(allSeen, "all work");
  for (let number = 0; number < 300; number++) await next(everything, "work");
  assert.ok(Math.min(...seen) > 30, String(seen));
}

async function requests(one, two) {
  one.subscribe("service", { callback: (_, message) => message.respond(message.string().toUpperCase()) });
  await one.flush();
  const ask = (number) => two.request("service", `x${number}`, { timeout: PATIENCE });
  const answers = await Promise.all([...Array(100).keys()].map(ask));
  answers.forEach((answer, number) => assert.equal(answer.string(), `X${number}`));
  const old = await two.request("service", "old", { timeout: PATIENCE, noMux: true });
  assert.equal(old.string(), "OLD");
  await assert.rejects(two.request("nobody.listens", "", { timeout: PATIENCE }), (error) => {
    assert.ok(error.isNoResponders?.(), String(error));
    return true;
  });
}

async function endsOfSubscriptions(one, two) {
  const few = one.subscribe("few", { max: 3 });
  const gone = one.subscribe("gone");
  gone.unsubscribe();
  await one.flush();
  for (const subject of ["few", "few", "few", "few", "gone"]) two.publish(subject);
  await two.flush();
  await one.flush();
  let count = 0;
  for await (const _ of few) count++;
  assert.deepEqual([count, gone.getReceived()], [3, 0]);
  // Messages that wait are handled before a drained connection closes.
  const third = await connect();
  let handled = 0;
  third.subscribe("drained", { callback: () => handled++ });
  await third.flush();
  for (let number = 0; number < 20; number++) two.publish("drained");
  await two.flush();
  await third.drain();
  assert.equal(handled, 20);
  assert.ok(third.isClosed());
}

async function sizes(one, two) {
  const limit = two.info.max_payload;
  assert.equal(limit, 1024 * 1024);
  const sub = messages(one.subscribe("large"));
  await one.flush();
  const large = Uint8Array.from({ length: limit }, (_, at) => at % 256);
  for (let number = 0; number < 5; number++) two.publish("large", large);
  two.publish("large");
  for (let number = 0; number < 5; number++) {
    assert.equal(Buffer.compare((await next(sub, "large")).data, large), 0);
  }
  assert.equal((await next(sub, "empty")).data.length, 0);
  assert.throws(() => two.publish("large", new Uint8Array(limit + 1)), /max_payload/);
}

for (const [scene, given] of JSON.parse(process.argv[2])) {
  settings = given;
  try {
    await scenes[scene]();
  } catch (error) {
    console.error("failed:", scene, given);
    throw error;
  }
}
process.exit(0);
